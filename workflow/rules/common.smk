# The scale that was asked for. All decisions are made in sadetr/workflow.py; rules only connect files.

import os
import sys
from pathlib import Path

from snakemake.resources import Resources
from snakemake.settings.types import DeploymentMethod

from sadetr import commandline, running
from sadetr.errors import SadetrError
from sadetr.installation import INSTALLED, conda_python
from sadetr.preloading import launch
from sadetr.workflow import Workflow

try:
    # Jobs on other machines start Snakemake again, with words of its own.
    if workflow.is_main_process:
        commandline.check_profiles(sys.argv[1:], Path(workflow.basedir), Path(workflow.workdir_init))
        commandline.check_config(sys.argv[1:], config)
    flow = Workflow(config)
    deployed = DeploymentMethod.CONDA in workflow.deployment_settings.deployment_method
    preloading = flow.preloading and launch.POSSIBLE and not deployed and workflow.is_main_process
    PYTHON = conda_python() if deployed else launch.PYTHON if preloading else [sys.executable]
except SadetrError as error:
    # Not an exception, whose traceback Snakemake would print.
    sys.exit(f"error: {error}")


def planned(find):
    """An input function that says what it refuses in one message."""

    def inputs(wildcards):
        try:
            return find(wildcards)
        except SadetrError as error:
            sys.exit(f"error: {error}")

    return inputs


def setting_of(wildcards):
    return wildcards.run.split("/")[0]


def command(name, *options):
    """A subcommand with options as parameter of a job; it takes `output`, so Snakemake does not count it among what may change.

    Where Python, results and data lie is no reason to do a step again.
    """
    return lambda wildcards, output: flow.command(PYTHON, name, ["scale", "results", *options])


def demand(rule):
    """Time and memory that jobs ask a cluster for, the n-th attempt for n times as much.

    What a user names with `--default-resources` is left to that.
    """
    given, usual = workflow.resource_settings.default_resources, Resources.default("full")
    asked = {
        "runtime": lambda wildcards, attempt: flow.request(rule, wildcards.get("run")).minutes * attempt,
        "mem_mb": lambda wildcards, attempt: flow.request(rule, wildcards.get("run")).mem_mb * attempt,
    }
    return {name: value for name, value in asked.items() if given is None or given.get(name).raw == usual.get(name).raw}


# Users count GPUs (--resources gpu=2), trainings ask for slots of them.
if "gpu" in workflow.resource_settings.resources:
    workflow.register_resource("gpu", flow.runs_per_gpu * workflow.global_resources["gpu"].value)


# Without a dry run's own lock, a start right after it would find itself not alone.
if workflow.is_main_process and not workflow.output_settings.dryrun:
    running.register(Path(".snakemake"))

FOLDER = str(flow.folder)
# Snakemake measures the processes that it starts, and a preloaded one starts itself: there, only times are right.
BENCHMARKS = f"{FOLDER}/benchmarks/preloaded" if preloading else f"{FOLDER}/benchmarks"
RUN = flow.wildcard_run
# Jobs run with the Python that runs Snakemake, or with `--sdm conda` in this environment.
ENVIRONMENT = "../environment.yaml"

if INSTALLED:
    # `python -m` would prefer a package of this name in the working directory: rules run what planned them.
    os.environ.update(PYTHONSAFEPATH="1")


if preloading:

    onstart:
        # Jobs on other machines, and files that are only touched, start no Python here; and importing for one training
        # what it imports itself saves nothing.
        trainings = sum(job.rule.name == "train" for job in workflow.dag.needrun_jobs())
        if workflow.local_exec and not workflow.touch and trainings > 1:
            launch.launch(Path(".snakemake"))


# Answers for whoever waits at the terminal, in less time than a cluster needs to begin.
localrules:
    check_data,
    compare,


wildcard_constraints:
    setting=r"[^/]+",
    stream=r"[^/]+",
    run=r"[^/]+/[^/]+/[^/]+/seed\d+",
    table=flow.names("table"),
    figure=flow.names("figure"),
