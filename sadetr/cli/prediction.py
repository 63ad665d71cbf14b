"""The subcommand that predicts with weights that are there."""

from pathlib import Path
from typing import Annotated

import typer

from sadetr.cli.data import store_opener
from sadetr.cli.options import RESULTS, DataRoot, Results, Scale, app, known_run, make_layout, refuse_given
from sadetr.configuration import resolve_dataset
from sadetr.errors import SettingsError


@app.command()
def predict(
    context: typer.Context,
    split: Annotated[str, typer.Option(help="Any split of the setting, with or without labels.")],
    run: Annotated[str | None, typer.Option(help="A finished run: <setting>/<method>/<variant>/seed<k>.")] = None,
    checkpoint: Annotated[
        str, typer.Option(help="Of the run: best, clean or last. Without --run: a file, of import-weights or a run.")
    ] = "best",
    setting: Annotated[str | None, typer.Option(help="Benchmark setting to predict with a file.")] = None,
    method: Annotated[str | None, typer.Option(help="Method of a file that does not say it.")] = None,
    variant: Annotated[str | None, typer.Option(help="Variant that a file is of; default: the full method.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="File to write; default, of a run: predicted/<checkpoint>.<split>.jsonl in it."),
    ] = None,
    scale: Scale = "mini",
    results: Results = RESULTS,
    data_root: DataRoot = None,
) -> None:
    """Write the predictions of a run, or of a checkpoint file, in the field's submission format."""
    layout = make_layout(scale, results, data_root)
    run_id = None if run is None else known_run(run, scale)
    if run_id is not None:
        refuse_given(context, "--run names the network", "setting", "method", "variant")
        setting = run_id.setting
    elif setting is None or out is None or context.get_parameter_source("checkpoint").name != "COMMANDLINE":
        raise SettingsError(
            "say what to predict with: --run RUN [--checkpoint best], or --checkpoint FILE --setting S --out FILE"
        )
    dataset = resolve_dataset(setting, scale)
    files = layout.annotations(dataset)
    if split not in files:
        raise SettingsError(f"no split {split!r} in setting {setting!r}; known: {', '.join(files)}")
    from sadetr.data.annotations import read_annotations
    from sadetr.evaluation.predictions import write_predictions
    from sadetr.training.predictor import file_predictor, run_predictor

    store = store_opener(setting, layout)
    if run_id is not None:
        predictor = run_predictor(run_id, layout, checkpoint, store)
        out = out or layout.run(run_id).predicted(checkpoint, split)
    else:
        predictor = file_predictor(Path(checkpoint), setting, layout, method, variant, store)
    queries = read_annotations(files[split], dataset.annotation_rules)
    write_predictions(out, predictor(queries))
    print(f"{predictor.name} on {setting} {split}, {len(queries):,} queries: {out}")
