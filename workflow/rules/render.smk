# Metrics -> tables and figures. Each needs its own runs and published files only, so that a failed run spoils no other table.


rule table:
    input:
        metrics=planned(lambda wildcards: flow.render_inputs(wildcards.table)),
        rescored=lambda wildcards: flow.rescored(wildcards.table),
        sources=lambda wildcards: flow.sources(wildcards.table),
    output:
        multiext(f"{FOLDER}/tables/{{table}}", ".csv", ".md", ".tex"),
        report(f"{FOLDER}/tables/{{table}}.html", category="Tables"),
    log:
        f"{FOLDER}/logs/table/{{table}}.log",
    benchmark:
        f"{BENCHMARKS}/table/{{table}}.tsv"
    conda:
        ENVIRONMENT
    resources:
        **demand("table"),
    params:
        command=command("table", "seeds"),
        fingerprint=flow.fingerprints.rendering(),
    shell:
        "{params.command} {wildcards.table:q} > {log:q} 2>&1"


rule figure:
    input:
        data=planned(lambda wildcards: flow.render_inputs(wildcards.figure)),
        sources=lambda wildcards: flow.sources(wildcards.figure),
    output:
        multiext(f"{FOLDER}/figures/{{figure}}", ".pdf", ".png"),
        report(f"{FOLDER}/figures/{{figure}}.svg", category="Figures"),
    log:
        f"{FOLDER}/logs/figure/{{figure}}.log",
    benchmark:
        f"{BENCHMARKS}/figure/{{figure}}.tsv"
    conda:
        ENVIRONMENT
    resources:
        **demand("figure"),
    params:
        command=command("figure", "data", "seeds"),
        fingerprint=lambda wildcards: flow.fingerprints.rendering(flow.published_inputs(wildcards.figure)),
    shell:
        "{params.command} {wildcards.figure:q} > {log:q} 2>&1"


# One LaTeX document of all tables and figures.
rule paper:
    input:
        rendered=flow.typeset_inputs(),
        sources=flow.sources(),
    output:
        f"{FOLDER}/paper.tex",
    log:
        f"{FOLDER}/logs/paper.log",
    benchmark:
        f"{BENCHMARKS}/paper.tsv"
    conda:
        ENVIRONMENT
    resources:
        **demand("paper"),
    params:
        command=command("paper"),
        fingerprint=flow.fingerprints.rendering(),
    shell:
        "{params.command} > {log:q} 2>&1"
