# The scale that was asked for. All decisions are made in sadetr/workflow.py; rules only connect files.

import os
import sys
from pathlib import Path

from sadetr import commandline, running
from sadetr.errors import SadetrError
from sadetr.installation import INSTALLED
from sadetr.workflow import Workflow

try:
    # Jobs on other machines start Snakemake again, with words of its own.
    if workflow.is_main_process:
        commandline.check_profiles(sys.argv[1:], Path(workflow.basedir), Path(workflow.workdir_init))
        commandline.check_config(sys.argv[1:], config)
    flow = Workflow(config)
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


# Users count GPUs (--resources gpu=2), trainings ask for slots of them.
if "gpu" in workflow.resource_settings.resources:
    workflow.register_resource("gpu", flow.runs_per_gpu * workflow.global_resources["gpu"].value)


# Without a dry run's own lock, a start right after it would find itself not alone.
if workflow.is_main_process and not workflow.output_settings.dryrun:
    running.register(Path(".snakemake"))

FOLDER = str(flow.folder)
RUN = flow.wildcard_run
PYTHON = sys.executable

if INSTALLED:
    # `python -m` would prefer a package of this name in the working directory: rules run what planned them.
    os.environ["PYTHONSAFEPATH"] = "1"


wildcard_constraints:
    setting=r"[^/]+",
    run=r"[^/]+/[^/]+/[^/]+/seed\d+",
    table=flow.names("table"),
    figure=flow.names("figure"),
