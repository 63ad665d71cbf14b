# Annotations and features -> feature store. Generated scales first write a corpus in the official layout.

if flow.generated:

    rule generate:
        output:
            annotations=directory(f"{FOLDER}/data/annotations/{{setting}}"),
            features=directory(f"{FOLDER}/data/features/{{setting}}"),
            corpus=f"{FOLDER}/data/{{setting}}.json",
        log:
            f"{FOLDER}/logs/generate/{{setting}}.log",
        benchmark:
            f"{BENCHMARKS}/generate/{{setting}}.tsv"
        conda:
            ENVIRONMENT
        resources:
            **demand("generate"),
        params:
            command=command("generate"),
            fingerprint=lambda wildcards: flow.fingerprints.corpus(wildcards.setting),
        shell:
            "{params.command} --setting {wildcards.setting:q} > {log:q} 2>&1"


if flow.extracting:

    # The files lie in the data root and are continued there: Snakemake deletes declared outputs before a job starts.
    rule extract:
        input:
            planned(lambda wildcards: flow.extract_inputs(wildcards.setting)),
        output:
            f"{FOLDER}/extracted/{{setting}}/{{stream}}.json",
        log:
            f"{FOLDER}/logs/extract/{{setting}}/{{stream}}.log",
        benchmark:
            f"{BENCHMARKS}/extract/{{setting}}/{{stream}}.tsv"
        conda:
            ENVIRONMENT
        threads: 2
        resources:
            **demand("extract"),
            gpu=lambda wildcards: flow.extract_gpus(wildcards.setting, wildcards.stream),
            slurm_partition=lambda wildcards: flow.partition(flow.extract_gpus(wildcards.setting, wildcards.stream)),
        params:
            command=lambda wildcards, output: flow.command(PYTHON, "extract", ["scale", "data", "videos"]),
            fingerprint=lambda wildcards: flow.fingerprints.extraction(wildcards.setting),
            device=lambda wildcards: flow.extract_device(wildcards.setting),
        shell:
            "{params.command} --setting {wildcards.setting:q} --stream {wildcards.stream:q}"
            " --device {params.device:q} --gpus {resources.gpu} --workers {threads} --record {output:q} > {log:q} 2>&1"


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
    benchmark:
        f"{BENCHMARKS}/prepare/{{setting}}.tsv"
    conda:
        ENVIRONMENT
    resources:
        **demand("prepare"),
    params:
        command=command("prepare", "data"),
        fingerprint=lambda wildcards: flow.fingerprints.store(wildcards.setting),
        inputs=lambda wildcards: flow.fingerprints.inputs(wildcards.setting).identity,
    shell:
        "{params.command} --setting {wildcards.setting:q} > {log:q} 2>&1"


# `check` writes the report of one setting, whatever it says; `check_data` turns all reports into an exit code, apart,
# because Snakemake deletes what a failing rule wrote.
rule check:
    input:
        lambda wildcards: flow.checked_inputs(wildcards.setting),
    output:
        json=f"{FOLDER}/checks/{{setting}}.json",
        html=report(f"{FOLDER}/checks/{{setting}}.html", category="Data"),
    log:
        f"{FOLDER}/logs/check/{{setting}}.log",
    benchmark:
        f"{BENCHMARKS}/check/{{setting}}.tsv"
    conda:
        ENVIRONMENT
    resources:
        **demand("check"),
    params:
        command=command("check-data", "data"),
        fingerprint=lambda wildcards: flow.fingerprints.check(wildcards.setting),
    shell:
        "{params.command} --setting {wildcards.setting:q} --json {output.json:q} --html {output.html:q} > {log:q} 2>&1"
        " || test -s {output.html:q}"


rule check_data:
    input:
        flow.checks,
    log:
        f"{FOLDER}/logs/check_data.log",
    conda:
        ENVIRONMENT
    shell:
        # Names the reports that hold errors. Snakemake shows the log of a rule that fails.
        "! grep --files-with-matches '\"passed\": false' {input:q} > {log:q}"
