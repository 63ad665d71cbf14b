# Metrics of all runs and of published predictions -> one table in long format.


rule gather:
    input:
        flow.metrics(),
        flow.rescored(),
    output:
        f"{FOLDER}/metrics.parquet",
    log:
        f"{FOLDER}/logs/gather.log",
    benchmark:
        f"{BENCHMARKS}/gather.tsv"
    conda:
        ENVIRONMENT
    resources:
        **demand("gather"),
    params:
        command=command("gather", "seeds"),
    shell:
        "{params.command} > {log:q} 2>&1"
