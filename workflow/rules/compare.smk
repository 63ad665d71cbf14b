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
    benchmark:
        f"{BENCHMARKS}/comparison.tsv"
    conda:
        ENVIRONMENT
    resources:
        **demand("comparison"),
    params:
        command=command("comparison", "seeds"),
        fingerprint=flow.fingerprints.comparing(),
    shell:
        "{params.command} > {log:q} 2>&1"


rule compare:
    input:
        rules.comparison.output,
    log:
        f"{FOLDER}/logs/compare.log",
    conda:
        ENVIRONMENT
    params:
        command=command("compare", "seeds"),
    shell:
        # Snakemake shows the log of a rule that fails.
        "{params.command} > {log:q} 2>&1 && cat {log:q}"
