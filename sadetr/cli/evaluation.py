"""Subcommands that score predictions."""

from pathlib import Path
from typing import Annotated

import typer

from sadetr.cli.data import store_opener
from sadetr.cli.options import RESULTS, DataRoot, Results, Scale, Setting, app, known_run, make_layout, refuse_given
from sadetr.configuration import resolve_dataset
from sadetr.errors import SettingsError


@app.command()
def evaluate(
    context: typer.Context,
    run: Annotated[str | None, typer.Option(help="Score a finished run: writes its metrics.parquet.")] = None,
    predictions: Annotated[Path | None, typer.Option(help="Score this prediction file.")] = None,
    baseline: Annotated[
        str | None, typer.Option(help="Score a trivial predictor: whole_video, mean_span or random_spans.")
    ] = None,
    annotations: Annotated[Path | None, typer.Option(help="Ground truth; default: the scale's own of --split.")] = None,
    train_annotations: Annotated[
        Path | None,
        typer.Option(help="What mean_span learns from; default, without --annotations: the scale's own."),
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Predict with this file, of import-weights or of a run, and score that.")
    ] = None,
    method: Annotated[str | None, typer.Option(help="Method of a --checkpoint that does not say it.")] = None,
    variant: Annotated[str | None, typer.Option(help="Variant of a --checkpoint; default: the full method.")] = None,
    split: Annotated[str, typer.Option(help="Split to score where no --annotations are given.")] = "val",
    setting: Setting = "qvhighlights",
    out: Annotated[Path | None, typer.Option(help="Also write the metrics as JSON.")] = None,
    output_format: Annotated[
        str, typer.Option("--format", help="Of --out: flat, or the structure of moment-detr's or cg-detr's evaluator.")
    ] = "flat",
    bootstrap: Annotated[int | None, typer.Option(help="Confidence intervals from this many resamples.")] = None,
    against: Annotated[Path | None, typer.Option(help="Paired permutation test against this prediction file.")] = None,
    queries: Annotated[Path | None, typer.Option(help="Also write every query's contribution as CSV.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of resampling and of random_spans.")] = 0,
    scale: Scale = "mini",
    results: Results = RESULTS,
    data_root: DataRoot = None,
) -> None:
    """Score a run, a prediction file, a trivial predictor, or a checkpoint."""
    layout = make_layout(scale, results, data_root)
    if run is not None:
        _refuse_all_but(context, "run", "scale", "results", "data_root")
        from sadetr.reporting.scoring import score_run

        print(score_run(known_run(run, scale), layout))
        return
    if checkpoint is None:
        refuse_given(context, "there is no --checkpoint", "method", "variant")
    from sadetr.evaluation.command import evaluate_command

    dataset = resolve_dataset(setting, scale)
    if annotations is None:
        files = layout.annotations(dataset)
        if split not in files:
            raise SettingsError(f"no split {split!r} in setting {setting!r}; known: {', '.join(files)}")
        annotations, train_annotations = files[split], train_annotations or files[dataset.train_split]
    predictor = None
    if checkpoint is not None:
        from sadetr.training.predictor import file_predictor

        predictor = file_predictor(checkpoint, setting, layout, method, variant, store_opener(setting, layout))
    evaluate_command(
        dataset,
        annotations,
        predictions,
        baseline,
        train_annotations,
        out,
        predictor=predictor,
        format=output_format,
        bootstrap=bootstrap,
        against=against,
        seed=seed,
        queries=queries,
    )


def _refuse_all_but(context: typer.Context, *names: str) -> None:
    """Raise SettingsError if an option that would do nothing beside ``--run`` was given."""
    others = [parameter.name for parameter in context.command.params if parameter.name not in names]
    refuse_given(context, "--run scores a finished run into its folder", *others)


@app.command()
def rescore(setting: Setting, scale: Scale = "paper", results: Results = RESULTS, data_root: DataRoot = None) -> None:
    """Score what other authors published: DATA_ROOT/released_predictions/<setting>/<method>_<split>.jsonl."""
    from sadetr.reporting.published import left_aside, published_predictions
    from sadetr.reporting.scoring import rescore

    layout = make_layout(scale, results, data_root)
    path = rescore(setting, layout)
    for predictions in published_predictions(layout.published, resolve_dataset(setting, scale)):
        print(f"rescored: {predictions.method} on {predictions.split}")
    for other in left_aside(layout.published, setting):
        print(f"left aside, not a prediction file: {other}")
    print(path)


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
