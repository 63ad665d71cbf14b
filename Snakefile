# The DAG. What a user types is a target below; the rules lie in workflow/rules/, one file per stage.
#
#   snakemake --cores 1 all                                  every table and figure at the default scale
#   snakemake --cores 1 table4                               one table and only the runs that it needs
#   snakemake --cores 1 compare                              the verdict on every cell, as exit code
#   snakemake --cores 1 report                               all of it as one page for a browser
#   snakemake --cores 1 check_data                           the data of all settings, with reports; the verdict as exit code
#   snakemake all --cores 1 --config scale=paper data_root=DIR


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/rescore.smk"
include: "workflow/rules/gather.smk"
include: "workflow/rules/render.smk"
include: "workflow/rules/compare.smk"
include: "workflow/rules/report.smk"


rule all:
    default_target: True
    input:
        [flow.rendered(name) for name in flow.all],
        flow.kept(),
        rules.gather.output,
        rules.comparison.output,
        rules.paper.output,
        # Checking generated data takes two seconds; official archives are large, and preparation checks them anyway.
        flow.checks if flow.generated else [],


# table1, table4, figure5, ..., and what `all` leaves out: sensitivity
for experiment in flow.experiments:

    rule:
        name:
            experiment
        input:
            flow.rendered(experiment),
            flow.kept(experiment),
