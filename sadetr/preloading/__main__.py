"""``python -m sadetr.preloading SOCKET``: serve jobs; in each process that is forked for one, be that job."""

import runpy
import sys
from pathlib import Path

from sadetr.preloading.server import serve

if request := serve(Path(sys.argv[1])):
    sys.argv = ["sadetr", *request.words[2:]]
    runpy.run_module(request.words[1], run_name="__main__", alter_sys=True)
