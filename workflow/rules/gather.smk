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
        "{PYTHON:q} -m sadetr gather {flow.table_arguments} > {log:q} 2>&1"
