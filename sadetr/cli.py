"""The command line: one subcommand per rule of the workflow, under the same name.

Modules are imported inside the commands: only training needs torch, and a table should render in a second.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from sadetr.configuration import load_scale, resolve_dataset
from sadetr.errors import SadetrError, SettingsError
from sadetr.experiments import RunId, canonical, experiment_names, load_experiment, run_settings
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
Setting = Annotated[str, typer.Option(help="Benchmark setting, a file of config/settings.")]
Run = Annotated[str, typer.Option(help="<setting>/<method>/<variant>/seed<k>, as `runs` prints them.")]
RESULTS = Path("results")


def _layout(scale: str, results: Path, data_root: Path | None = None) -> Layout:
    return Layout(load_scale(scale), results, data_root)


@app.command()
def runs(
    table: Annotated[int | None, typer.Option(help="Number of a table.")] = None,
    figure: Annotated[int | None, typer.Option(help="Number of a figure.")] = None,
    scale: Scale = "mini",
) -> None:
    """Print which run fills which row of a table or figure (default: of all)."""
    names = experiment_names()
    wanted = [f"{kind}{number}" for kind, number in (("table", table), ("figure", figure)) if number is not None]
    for name in wanted or names:
        if name not in names:
            raise SettingsError(f"no experiment {name!r}; known: {', '.join(names)}")
        experiment = load_experiment(name, scale)
        print(f"{name}: {experiment.title} ({experiment.split}, {experiment.checkpoint} checkpoint)")
        for row in experiment.rows:
            labels = " ".join(f"{column}={value or '-'}" for column, value in row.labels.items())
            print(f"  {row.key:<18} {labels:<32} {'  '.join(map(str, row.runs)) or '(paper only)'}")
        print(f"  {len(experiment.runs)} distinct runs")


@app.command()
def generate(setting: Setting, scale: Scale = "mini", results: Results = RESULTS) -> None:
    """Write the generated corpus of a scale in the official on-disk layout."""
    from sadetr.data.corpus import generate

    layout = _layout(scale, results)
    if layout.scale.data != "generated":
        raise SettingsError(f"scale {scale!r} has {layout.scale.data} data: there is nothing to generate")
    generate(resolve_dataset(setting, scale), layout.scale.corpus, layout.data_root)
    print(f"generated corpus of {setting}: {layout.data_root}")


@app.command()
def prepare(setting: Setting, scale: Scale = "mini", results: Results = RESULTS, data_root: DataRoot = None) -> None:
    """Check features and pack them into a memory-mapped store."""
    from sadetr.configuration import resolve_features
    from sadetr.data.preparation import prepare
    from sadetr.provenance import code_fingerprint

    layout = _layout(scale, results, data_root)
    if layout.scale.data == "simulated":
        raise SettingsError("features of the 'simulated' scale cannot be made yet; use 'mini' or 'paper'")
    dataset, features = resolve_dataset(setting, scale), resolve_features(setting, scale)
    out = layout.store(setting)
    prepare(dataset, features, layout.data_root, out, code_fingerprint("sadetr.data.preparation"))
    print(f"feature store of {setting}: {out}")


@app.command()
def train(run: Run, scale: Scale = "mini", results: Results = RESULTS, data_root: DataRoot = None) -> None:
    """Train one run and predict; continues where an interrupted training stopped."""
    from sadetr.configuration import load_method
    from sadetr.training.run import train

    layout = _layout(scale, results, data_root)
    run_id = _known_run(run, scale)
    settings = run_settings(run_id, scale)
    module = load_method(run_id.method).module
    store = layout.store(run_id.setting)
    train(settings, module, store, layout.annotations(settings.dataset), layout.run(run_id).path)


@app.command()
def evaluate(
    run: Annotated[str | None, typer.Option(help="Score a finished run: writes its metrics.parquet.")] = None,
    predictions: Annotated[Path | None, typer.Option(help="Score this prediction file.")] = None,
    baseline: Annotated[
        str | None, typer.Option(help="Score a trivial predictor: whole_video, mean_span or random_spans.")
    ] = None,
    annotations: Annotated[Path | None, typer.Option(help="Ground truth; default: the scale's own of --split.")] = None,
    train_annotations: Annotated[
        Path | None, typer.Option(help="What mean_span learns from; default: the scale's own.")
    ] = None,
    split: Annotated[str, typer.Option(help="Split to score where no --annotations are given.")] = "val",
    setting: Setting = "qvhighlights",
    out: Annotated[Path | None, typer.Option(help="Also write the metrics as JSON.")] = None,
    output_format: Annotated[
        str, typer.Option("--format", help="Of --out: flat, or the structure of moment-detr's or cg-detr's evaluator.")
    ] = "flat",
    bootstrap: Annotated[int | None, typer.Option(help="Confidence intervals from this many resamples.")] = None,
    against: Annotated[Path | None, typer.Option(help="Paired permutation test against this prediction file.")] = None,
    queries: Annotated[Path | None, typer.Option(help="Also write every query's contribution as CSV.")] = None,
    seed: Annotated[int, typer.Option(help="Of resampling and of random_spans.")] = 0,
    scale: Scale = "mini",
    results: Results = RESULTS,
    data_root: DataRoot = None,
) -> None:
    """Score a run, a prediction file, or a trivial predictor."""
    layout = _layout(scale, results, data_root)
    if run is not None:
        from sadetr.reporting.scoring import score_run

        print(score_run(_known_run(run, scale), layout))
        return
    from sadetr.evaluation.command import evaluate_command

    dataset = resolve_dataset(setting, scale)
    if annotations is None:
        files = layout.annotations(dataset)
        if split not in files:
            raise SettingsError(f"no split {split!r} in setting {setting!r}; known: {', '.join(files)}")
        annotations, train_annotations = files[split], train_annotations or files[dataset.train_split]
    evaluate_command(
        dataset,
        annotations,
        predictions,
        baseline,
        train_annotations,
        out,
        format=output_format,
        bootstrap=bootstrap,
        against=against,
        seed=seed,
        queries=queries,
    )


@app.command()
def submit(
    val: Annotated[Path, typer.Option(help="Predictions of the validation split.")],
    test: Annotated[Path, typer.Option(help="Predictions of the test split.")],
    val_annotations: Annotated[Path, typer.Option(help="Annotations of the validation split.")],
    test_annotations: Annotated[Path, typer.Option(help="Annotations of the test split, labels not needed.")],
    out: Annotated[Path, typer.Option(help="The zip to write.")],
    setting: Setting = "qvhighlights",
    scale: Scale = "paper",
) -> None:
    """Check two prediction files line by line and pack them for the QVHighlights server."""
    from sadetr.evaluation.command import submit_command

    submit_command(resolve_dataset(setting, scale), val, test, val_annotations, test_annotations, out)


@app.command()
def gather(scale: Scale = "mini", results: Results = RESULTS) -> None:
    """Join the metrics of all runs into metrics.parquet."""
    from sadetr.reporting.command import gather_command

    _print_paths(gather_command(load_scale(scale), results))


@app.command()
def table(
    number: Annotated[int, typer.Argument(help="Number of the table in the paper.")],
    scale: Scale = "mini",
    results: Results = RESULTS,
) -> None:
    """Render a table as CSV, Markdown, LaTeX and HTML."""
    from sadetr.reporting.command import table_command

    _print_paths(table_command(f"table{number}", load_scale(scale), results))


@app.command()
def figure(
    number: Annotated[int, typer.Argument(help="Number of the figure in the paper.")],
    scale: Scale = "mini",
    results: Results = RESULTS,
) -> None:
    """Draw a figure as PDF, SVG and PNG."""
    from sadetr.reporting.command import figure_command

    _print_paths(figure_command(f"figure{number}", load_scale(scale), results))


@app.command()
def comparison(scale: Scale = "mini", results: Results = RESULTS) -> None:
    """Write the verdict on every cell to comparison.csv, .md and .html."""
    from sadetr.reporting.command import comparison_command

    _print_paths(comparison_command(load_scale(scale), results))


@app.command()
def compare(scale: Scale = "mini", results: Results = RESULTS) -> None:
    """Print the verdicts; the exit code is 0 if every cell is reached (or, for generated data, complete)."""
    from sadetr.reporting.command import compare_command

    raise typer.Exit(compare_command(load_scale(scale), results))


def _known_run(text: str, scale: str) -> RunId:
    """Parse and resolve; another variant of the same network stands for its canonical run."""
    return canonical(RunId.parse(text), scale)


def _print_paths(paths: list[Path]) -> None:
    for path in paths:
        print(path)


def main() -> None:
    """Run a command; an error with a remedy is one message and exit code 1."""
    try:
        app()
    except SadetrError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
