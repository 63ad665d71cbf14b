"""The application and what its subcommands share: options, and the names that they resolve."""

from pathlib import Path
from typing import Annotated

import typer

from sadetr.configuration import ScaleSettings, choose_seeds, load_scale
from sadetr.errors import SettingsError
from sadetr.experiments import RunId, canonical
from sadetr.layout import Layout

app = typer.Typer(
    name="sadetr",
    help="Reproduce SA-DETR: prepare features, train, evaluate, render tables and figures, compare with the paper.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Scale = Annotated[str, typer.Option(help="mini, simulated, paper, or the path of a scale file of one's own.")]
Results = Annotated[Path, typer.Option(help="Folder that holds the results of all scales.")]
DataRoot = Annotated[
    Path | None, typer.Option(help="Real data: annotations/<setting>/ and features/<setting>/. Unused by mini.")
]
Seeds = Annotated[
    str | None,
    typer.Option(
        help="Seeds of every row of the tables: 0,1,2,3,2018 say; 'paper' for the paper's. [default: the scale's]"
    ),
]
Setting = Annotated[str, typer.Option(help="Benchmark setting, a file of config/settings.")]
Run = Annotated[str, typer.Option(help="<setting>/<method>/<variant>/seed<k>, as `runs` prints them.")]
RESULTS = Path("results")


def make_layout(scale: str, results: Path, data_root: Path | None = None) -> Layout:
    """Paths of a scale."""
    return Layout(load_scale(scale), results, data_root)


def chosen_scale(scale: str, seeds: str | None) -> ScaleSettings:
    """A scale with the seeds that were asked for."""
    return choose_seeds(load_scale(scale), seeds)


def known_run(text: str, scale: str) -> RunId:
    """Parse and resolve; another variant of the same network stands for its canonical run."""
    return canonical(RunId.parse(text), scale)


def given_options(context: typer.Context) -> list[typer.core.TyperOption]:
    """Options that stand on the command line."""
    sources = {parameter: context.get_parameter_source(parameter.name) for parameter in context.command.params}
    return [parameter for parameter, source in sources.items() if source.name == "COMMANDLINE"]


def refuse_given(context: typer.Context, why: str, *names: str) -> None:
    """Raise SettingsError if one of the options ``names`` was given, which would do nothing."""
    for parameter in given_options(context):
        if parameter.name in names:
            raise SettingsError(f"{why}, so {parameter.opts[0]} does nothing here; leave it out")


def print_paths(paths: list[Path]) -> None:
    """One path per line."""
    for path in paths:
        print(path)
