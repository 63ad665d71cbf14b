"""Subcommand that says where the workflow lies."""

from sadetr.cli.options import app
from sadetr.installation import snakefile as find_snakefile


@app.command()
def snakefile() -> None:
    """Print the path of the workflow: snakemake --snakefile "$(sadetr snakefile)" --cores 2 all."""
    print(find_snakefile())
