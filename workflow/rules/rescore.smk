# Published predictions -> their metrics, one file per benchmark setting. The predictions are optional inputs: without
# any, the file is empty. A prediction file that is added or taken away changes the inputs, so the rule runs again.

if not flow.generated:

    rule rescore:
        input:
            lambda wildcards: flow.rescore_inputs(wildcards.setting),
        output:
            f"{FOLDER}/rescored/{{setting}}.parquet",
        log:
            f"{FOLDER}/logs/rescore/{{setting}}.log",
        params:
            fingerprint=flow.score_fingerprint(),
        shell:
            "{PYTHON:q} -m sadetr rescore --setting {wildcards.setting:q} {flow.data_arguments} > {log:q} 2>&1"
