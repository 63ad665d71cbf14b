# Published predictions -> their metrics, one file per benchmark setting; without any, the file is empty. They count by
# their content: one that is added, changed or taken away changes the fingerprint, so the rule runs again.

if not flow.generated:

    rule rescore:
        input:
            planned(lambda wildcards: flow.rescore_inputs(wildcards.setting)),
        output:
            f"{FOLDER}/rescored/{{setting}}.parquet",
        log:
            f"{FOLDER}/logs/rescore/{{setting}}.log",
        benchmark:
            f"{BENCHMARKS}/rescore/{{setting}}.tsv"
        conda:
            ENVIRONMENT
        resources:
            **demand("rescore"),
        params:
            command=command("rescore", "data"),
            fingerprint=lambda wildcards: flow.fingerprints.rescoring(wildcards.setting),
        shell:
            "{params.command} --setting {wildcards.setting:q} > {log:q} 2>&1"
