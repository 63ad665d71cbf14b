# The scale that was asked for. All decisions are made in sadetr/workflow.py; rules only connect files.

import sys

from sadetr.errors import SadetrError
from sadetr.workflow import Workflow

try:
    flow = Workflow(config)
except SadetrError as error:
    raise WorkflowError(str(error)) from None

FOLDER = str(flow.folder)
RUN = flow.wildcard_run
PYTHON = sys.executable


wildcard_constraints:
    setting=r"[^/]+",
    run=r"[^/]+/[^/]+/[^/]+/seed\d+",
    table=flow.names("table"),
    figure=flow.names("figure"),
