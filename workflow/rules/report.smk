# Everything of a scale as one page. Tables are rendered from the runs, figures are taken as they were drawn.


rule report:
    input:
        metrics=planned(lambda wildcards: flow.compared_inputs()),
        rescored=flow.rescored(),
        runs=flow.trained(),
        figures=flow.figures,
        sources=flow.sources(),
        tolerances=flow.tolerances,
    output:
        f"{FOLDER}/report.html",
    log:
        f"{FOLDER}/logs/report.log",
    benchmark:
        f"{BENCHMARKS}/report.tsv"
    conda:
        ENVIRONMENT
    resources:
        **demand("report"),
    params:
        command=command("report", "seeds"),
        fingerprint=flow.fingerprints.reporting(),
    shell:
        "{params.command} > {log:q} 2>&1"
