"""The subcommand that answers a sentence about a video."""

from pathlib import Path
from typing import Annotated

import typer

from sadetr.cli.extraction import (
    ClipWeights,
    MaxTokens,
    OtherWeights,
    SlowFastSampling,
    SlowFastWeights,
    VocabularyFile,
)
from sadetr.cli.options import RESULTS, Results, app, refuse_given
from sadetr.errors import DataError, SettingsError
from sadetr.extraction.choices import Device, Sampling

TrainedRun = Annotated[str | None, typer.Option(help="A finished run: <setting>/<method>/<variant>/seed<k>.")]
Checkpoint = Annotated[
    str, typer.Option(help="Of the run: best, clean or last. Without --run: a file, of import-weights or a run.")
]
FileSetting = Annotated[str | None, typer.Option(help="Benchmark setting that a file was trained for.")]
FileMethod = Annotated[str | None, typer.Option(help="Method of a file that does not say it.")]
FileVariant = Annotated[str | None, typer.Option(help="Variant that a file is of; default: the full method.")]
TrainedScale = Annotated[str, typer.Option(help="Scale it was trained at: paper, or the path of a file.")]
Downloads = Annotated[Path | None, typer.Option(help="Holds downloads/ with fetched weights; default: <results>.")]
ComputeDevice = Annotated[Device, typer.Option(help="Where networks compute.")]


def check_network(context: typer.Context, run: str | None) -> None:
    """Refuse options that name no network, or say twice which.

    Raises:
        SettingsError: as above.
    """
    if run is not None:
        refuse_given(context, "--run names the network", "setting", "method", "variant")
    elif context.get_parameter_source("checkpoint").name != "COMMANDLINE":
        raise SettingsError("say which network answers: --run RUN, or --checkpoint FILE --setting S")


@app.command()
def locate(
    context: typer.Context,
    words: Annotated[list[str], typer.Argument(metavar='VIDEO... "SENTENCE"', help="Videos and, last, the sentence.")],
    run: TrainedRun = None,
    checkpoint: Checkpoint = "best",
    setting: FileSetting = None,
    method: FileMethod = None,
    variant: FileVariant = None,
    queries: Annotated[
        Path | None, typer.Option(help="Sentences: one a line, or a .jsonl file with the field 'query'.")
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Windows that are shown of an answer; the JSON file has all.")] = 5,
    json: Annotated[Path | None, typer.Option(help="Write windows and saliency curves to this file.")] = None,
    picture: Annotated[
        Path | None, typer.Option(help="Draw frames, windows and saliency: a file .png, .svg or .pdf.")
    ] = None,
    scale: TrainedScale = "paper",
    results: Results = RESULTS,
    cache: Annotated[
        Path | None, typer.Option(help="Folder where features of videos are kept; default: <results>/cache.")
    ] = None,
    data_root: Downloads = None,
    device: ComputeDevice = Device.auto,
    clip_weights: ClipWeights = None,
    slowfast_weights: SlowFastWeights = None,
    bpe: VocabularyFile = None,
    other_weights: OtherWeights = False,
    max_tokens: MaxTokens = 32,
    sampling: SlowFastSampling = Sampling.hero,
) -> None:
    """Find in videos what a sentence says: windows with scores, and how well every clip fits."""
    from sadetr.extraction.streams import Options
    from sadetr.locating.command import locate, question
    from sadetr.locating.predictor import Predictor
    from sadetr.training.devices import claimed_device

    check_network(context, run)
    asked = question(words, queries, picture)
    with claimed_device(device.value, option="--device") as claimed:
        options = Options(
            root=data_root or results,
            device=claimed,
            clip_weights=clip_weights,
            slowfast_weights=slowfast_weights,
            vocabulary=bpe,
            accept_others=other_weights,
            max_tokens=max_tokens,
            sampling=sampling,
        )
        predictor = Predictor.load(
            run or Path(checkpoint),
            scale=scale,
            results=results,
            checkpoint=checkpoint,
            setting=setting,
            method=method,
            variant=variant,
            options=options,
            cache=cache or results / "cache",
        )
        failed = locate(predictor, asked, top, json, picture)
    if failed:
        raise DataError(f"{len(failed)} of {len(asked.videos)} videos could not be searched.")
