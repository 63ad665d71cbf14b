# Annotations and features -> feature store. Generated scales first write a corpus in the official layout.

if flow.generated:

    rule generate:
        output:
            annotations=directory(f"{FOLDER}/data/annotations/{{setting}}"),
            features=directory(f"{FOLDER}/data/features/{{setting}}"),
            corpus=f"{FOLDER}/data/{{setting}}.json",
        log:
            f"{FOLDER}/logs/generate/{{setting}}.log",
        params:
            fingerprint=lambda wildcards: flow.fingerprints.corpus(wildcards.setting),
        shell:
            "{PYTHON:q} -m sadetr generate --setting {wildcards.setting:q} {flow.arguments} > {log:q} 2>&1"


if flow.extracting:

    # The files lie in the data root and are continued there: Snakemake deletes declared outputs before a job starts.
    rule extract:
        input:
            planned(lambda wildcards: flow.extract_inputs(wildcards.setting)),
        output:
            f"{FOLDER}/extracted/{{setting}}/{{stream}}.json",
        log:
            f"{FOLDER}/logs/extract/{{setting}}/{{stream}}.log",
        threads: 2
        resources:
            gpu=lambda wildcards: flow.extract_gpus(wildcards.setting, wildcards.stream),
            slurm_partition=lambda wildcards: flow.partition(flow.extract_gpus(wildcards.setting, wildcards.stream)),
        params:
            fingerprint=lambda wildcards: flow.fingerprints.extraction(wildcards.setting),
            device=lambda wildcards: flow.extract_device(wildcards.setting),
        shell:
            "{PYTHON:q} -m sadetr extract --setting {wildcards.setting:q} --stream {wildcards.stream:q}"
            " --device {params.device:q} --gpus {resources.gpu} --workers {threads} --record {output:q}"
            " {flow.extract_arguments} > {log:q} 2>&1"


# A checkpoint, because only the finished store shows whether runs must be trained again: they depend on its content.
# Official files are no inputs: what counts is not where they lie but what is in them (sadetr/data/inputs.py).
checkpoint prepare:
    input:
        planned(lambda wildcards: flow.prepare_inputs(wildcards.setting)),
        # Made, but of no account otherwise: a folder's own time says nothing about what lies in it.
        ancient([rules.generate.output.annotations, rules.generate.output.features] if flow.generated else []),
    output:
        store=directory(f"{FOLDER}/features/{{setting}}"),
        prepared=f"{FOLDER}/prepared/{{setting}}.json",
    log:
        f"{FOLDER}/logs/prepare/{{setting}}.log",
    params:
        fingerprint=lambda wildcards: flow.fingerprints.store(wildcards.setting),
        inputs=lambda wildcards: flow.fingerprints.inputs(wildcards.setting).identity,
    shell:
        "{PYTHON:q} -m sadetr prepare --setting {wildcards.setting:q} {flow.data_arguments} > {log:q} 2>&1"


# `check` writes the report of one setting, whatever it says; `check_data` turns all reports into an exit code, apart,
# because Snakemake deletes what a failing rule wrote.
rule check:
    input:
        lambda wildcards: flow.checked_inputs(wildcards.setting),
    output:
        f"{FOLDER}/checks/{{setting}}.json",
        report(f"{FOLDER}/checks/{{setting}}.html", category="Data"),
    log:
        f"{FOLDER}/logs/check/{{setting}}.log",
    params:
        fingerprint=lambda wildcards: flow.fingerprints.check(wildcards.setting),
    shell:
        "{PYTHON:q} -m sadetr check-data --setting {wildcards.setting:q} {flow.data_arguments}"
        " --json {output[0]:q} --html {output[1]:q} > {log:q} 2>&1 || test -s {output[1]:q}"


rule check_data:
    input:
        flow.checks,
    shell:
        # Names the reports that hold errors.
        "! grep --files-with-matches '\"passed\": false' {input:q}"
