# Prepared features -> checkpoints, history and predictions of one run.
#
# The training keeps its resumable state in the run folder under a name that no rule declares: Snakemake deletes
# declared outputs before a job starts, so a declared checkpoint could never be continued.


rule train:
    input:
        # Checksums, which Snakemake compares. A folder's own time says nothing about what lies in it.
        prepared=lambda wildcards: checkpoints.prepare.get(setting=setting_of(wildcards)).output.prepared,
        store=ancient(lambda wildcards: checkpoints.prepare.get(setting=setting_of(wildcards)).output.store),
        labels=planned(lambda wildcards: flow.train_inputs(setting_of(wildcards))),
    output:
        RUN.trained,
        checkpoints=directory(RUN.checkpoints),
        predictions=directory(RUN.predictions),
    log:
        f"{FOLDER}/logs/train/{{run}}.log",
    benchmark:
        f"{BENCHMARKS}/train/{{run}}.tsv"
    conda:
        ENVIRONMENT
    threads: lambda wildcards: flow.threads(wildcards.run)
    resources:
        **demand("train"),
        gpu=lambda wildcards: flow.gpus(wildcards.run),
        slurm_partition=lambda wildcards: flow.partition(flow.gpus(wildcards.run)),
    params:
        command=command("train", "data", "gpu"),
        fingerprint=lambda wildcards: flow.fingerprints.run(wildcards.run),
    shell:
        "{params.command} --run {wildcards.run:q} --gpus {resources.gpu} > {log:q} 2>&1"
