# Metrics -> tables and figures. Each needs its own runs and published files only, so that a failed run spoils no other table.


rule table:
    input:
        metrics=lambda wildcards: flow.metrics(f"table{wildcards.table}"),
        rescored=lambda wildcards: flow.rescored(f"table{wildcards.table}"),
        sources=lambda wildcards: flow.sources(f"table{wildcards.table}"),
    output:
        multiext(f"{FOLDER}/tables/table{{table}}", ".csv", ".md", ".tex"),
        report(f"{FOLDER}/tables/table{{table}}.html", category="Tables"),
    log:
        f"{FOLDER}/logs/table/{{table}}.log",
    params:
        fingerprint=flow.render_fingerprint(),
    shell:
        "{PYTHON} -m sadetr table {wildcards.table} {flow.arguments} > {log} 2>&1"


rule figure:
    input:
        data=lambda wildcards: flow.figure_inputs(f"figure{wildcards.figure}"),
        sources=lambda wildcards: flow.sources(f"figure{wildcards.figure}"),
    output:
        multiext(f"{FOLDER}/figures/figure{{figure}}", ".pdf", ".png"),
        report(f"{FOLDER}/figures/figure{{figure}}.svg", category="Figures"),
    log:
        f"{FOLDER}/logs/figure/{{figure}}.log",
    params:
        fingerprint=flow.render_fingerprint(),
    shell:
        "{PYTHON} -m sadetr figure {wildcards.figure} {flow.data_arguments} > {log} 2>&1"
