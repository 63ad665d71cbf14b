# Metrics of all runs and of published predictions -> one table in long format.


rule gather:
    input:
        flow.metrics(),
        flow.rescored(),
    output:
        f"{FOLDER}/metrics.parquet",
    log:
        f"{FOLDER}/logs/gather.log",
    shell:
        "{PYTHON} -m sadetr gather {flow.arguments} > {log} 2>&1"
