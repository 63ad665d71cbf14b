"""``python -m sadetr``."""

from sadetr.cli import main

main()
