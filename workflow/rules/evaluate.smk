# Predictions -> metrics of one run: every checkpoint, every reported split.


rule evaluate:
    input:
        provenance=RUN.provenance,
        predictions=rules.train.output.predictions,
        annotations=lambda wildcards: flow.annotation_inputs(wildcards.run.split("/")[0]),
    output:
        RUN.metrics,
    log:
        f"{FOLDER}/logs/evaluate/{{run}}.log",
    params:
        fingerprint=flow.score_fingerprint(),
    shell:
        "{PYTHON:q} -m sadetr evaluate --run {wildcards.run:q} {flow.data_arguments} > {log:q} 2>&1"
