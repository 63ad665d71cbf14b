# Annotations and features -> feature store. Generated scales first write a corpus in the official layout.

if flow.generated:

    rule generate:
        output:
            annotations=directory(f"{FOLDER}/data/annotations/{{setting}}"),
            features=directory(f"{FOLDER}/data/features/{{setting}}"),
        log:
            f"{FOLDER}/logs/generate/{{setting}}.log",
        params:
            fingerprint=lambda wildcards: flow.corpus_fingerprint(wildcards.setting),
        shell:
            "{PYTHON:q} -m sadetr generate --setting {wildcards.setting:q} {flow.arguments} > {log:q} 2>&1"


rule prepare:
    input:
        lambda wildcards: flow.data_inputs(wildcards.setting),
    output:
        directory(f"{FOLDER}/features/{{setting}}"),
    log:
        f"{FOLDER}/logs/prepare/{{setting}}.log",
    params:
        fingerprint=lambda wildcards: flow.store_fingerprint(wildcards.setting),
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
        fingerprint=lambda wildcards: flow.check_fingerprint(wildcards.setting),
    shell:
        "{PYTHON:q} -m sadetr check-data --setting {wildcards.setting:q} {flow.data_arguments}"
        " --json {output[0]:q} --html {output[1]:q} > {log:q} 2>&1 || test -s {output[1]:q}"


rule check_data:
    input:
        flow.checks,
    shell:
        # Names the reports that hold errors.
        "! grep --files-with-matches '\"passed\": false' {input:q}"
