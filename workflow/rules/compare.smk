# Our numbers against the paper's. `comparison` writes the verdicts; `compare` turns them into an exit code, apart,
# because Snakemake deletes what a failing rule wrote.


rule comparison:
    input:
        metrics=planned(lambda wildcards: flow.compared_inputs()),
        rescored=flow.rescored(),
        sources=flow.sources(),
        tolerances=flow.tolerances,
    output:
        multiext(f"{FOLDER}/comparison", ".csv", ".json", ".md", ".xml"),
        report(f"{FOLDER}/comparison.html", category="Comparison"),
    log:
        f"{FOLDER}/logs/comparison.log",
    params:
        fingerprint=flow.fingerprints.rendering(),
    shell:
        "{PYTHON:q} -m sadetr comparison {flow.table_arguments} > {log:q} 2>&1"


rule compare:
    input:
        rules.comparison.output,
    shell:
        "{PYTHON:q} -m sadetr compare {flow.table_arguments}"
