# The scale that was asked for. All decisions are made in sadetr/workflow.py; rules only connect files.

import os
import sys

from sadetr.errors import SadetrError
from sadetr.installation import INSTALLED
from sadetr.workflow import Workflow

try:
    flow = Workflow(config)
except SadetrError as error:
    raise WorkflowError(str(error)) from None

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
