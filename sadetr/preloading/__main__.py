"""``python -m sadetr.preloading DESCRIPTOR``: serve jobs; in each process that is forked for one, be that job."""

import sys

from sadetr.preloading.imports import needed
from sadetr.preloading.server import serve

serve(int(sys.argv[1]), needed())
