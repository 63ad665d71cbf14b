# Predictions -> metrics of one run, and each query's part in them: every checkpoint, every reported split.


rule evaluate:
    input:
        provenance=RUN.provenance,
        # A folder's own time says nothing about what lies in it.
        predictions=ancient(rules.train.output.predictions),
        prepared=lambda wildcards: flow.layout.prepared(setting_of(wildcards)),
    output:
        metrics=RUN.metrics,
        query_scores=RUN.query_scores,
    log:
        f"{FOLDER}/logs/evaluate/{{run}}.log",
    benchmark:
        f"{BENCHMARKS}/evaluate/{{run}}.tsv"
    conda:
        ENVIRONMENT
    resources:
        **demand("evaluate"),
    params:
        command=command("evaluate", "data"),
        fingerprint=flow.fingerprints.scores(),
    shell:
        "{params.command} --run {wildcards.run:q} > {log:q} 2>&1"
