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
            "{PYTHON} -m sadetr generate --setting {wildcards.setting} {flow.arguments} > {log} 2>&1"


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
        "{PYTHON} -m sadetr prepare --setting {wildcards.setting} {flow.data_arguments} > {log} 2>&1"
