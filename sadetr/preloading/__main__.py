"""``python -m sadetr.preloading SOCKET``: serve jobs; in each process that is forked for one, be that job."""

import sys
from pathlib import Path

from sadetr.preloading.imports import needed
from sadetr.preloading.server import serve

serve(Path(sys.argv[1]), needed())
