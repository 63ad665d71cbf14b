"""Subcommands that make features from videos and sentences, and compare them with others'."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from sadetr.cli.options import Setting, app
from sadetr.cli.training import Gpus
from sadetr.configuration import resolve_dataset
from sadetr.errors import DataError, SettingsError
from sadetr.extraction.choices import Device, Sampling, StreamName

ClipWeights = Annotated[Path | None, typer.Option(help="ViT-B-32.pt; default: fetched from OpenAI.")]
SlowFastWeights = Annotated[Path | None, typer.Option(help="SLOWFAST_8x8_R50.pkl; default: fetched from Meta.")]
VocabularyFile = Annotated[
    Path | None, typer.Option(help="bpe_simple_vocab_16e6.txt.gz; default: fetched from OpenAI's repository.")
]
OtherWeights = Annotated[
    bool, typer.Option("--other-weights", help="Accept files that are not the published ones; features say so.")
]
MaxTokens = Annotated[int, typer.Option(min=3, max=77, help="Tokens of a sentence, the outer two included.")]
SlowFastSampling = Annotated[
    Sampling, typer.Option(help="Which 32 pictures of a clip SlowFast sees: HERO's, or some of the whole clip.")
]
SHOWN = 20
"""Failures that are listed again at the end."""


@app.command()
def extract(
    setting: Setting,
    data_root: Annotated[Path, typer.Option(help="Holds annotations/<setting>/; features/<setting>/ is written.")],
    videos: Annotated[
        Path | None,
        typer.Option(help="Folder with <vid>.mp4, .avi, ...; for charades_sta_vgg AI2's folders of text files."),
    ] = None,
    stream: Annotated[
        list[str] | None,
        typer.Option(help="slowfast, clip, text or vgg; may be repeated. Default: all of the setting."),
    ] = None,
    scale: Annotated[str, typer.Option(help="Scale whose settings hold: paper, or the path of a file.")] = "paper",
    device: Annotated[Device, typer.Option(help="Where networks compute.")] = Device.auto,
    gpus: Gpus = 0,
    record: Annotated[
        Path | None, typer.Option(help="For one stream: also write its record here, once all its files are made.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Videos that are decoded at the same time.")] = 2,
    clip_weights: ClipWeights = None,
    slowfast_weights: SlowFastWeights = None,
    bpe: VocabularyFile = None,
    other_weights: OtherWeights = False,
    max_tokens: MaxTokens = 32,
    sampling: SlowFastSampling = Sampling.hero,
) -> None:
    """Make the official features from raw videos and sentences; continues where an earlier run stopped."""
    from sadetr.data.extracted import FILE
    from sadetr.extraction.command import extract
    from sadetr.extraction.streams import Options
    from sadetr.files import atomic_write_bytes
    from sadetr.training.devices import claimed_device

    if record is not None and len(stream or []) != 1:
        raise SettingsError("--record is of one stream: name it with --stream")
    with claimed_device(device.value, allotted=gpus, option="--device") as claimed:
        options = Options(
            root=data_root,
            videos=videos,
            device=claimed,
            clip_weights=clip_weights,
            slowfast_weights=slowfast_weights,
            vocabulary=bpe,
            accept_others=other_weights,
            max_tokens=max_tokens,
            sampling=sampling,
        )
        outcomes = extract(resolve_dataset(setting, scale), stream or [], options, workers)
    failures = [failure for outcome in outcomes for failure in outcome.failed.values()]
    for failure in failures[:SHOWN]:
        print(failure, file=sys.stderr)
    if failures:
        more = f"; {len(failures) - SHOWN:,} more are in extraction.json" if len(failures) > SHOWN else ""
        raise DataError(f"{len(failures):,} files could not be made{more}. All others are there.")
    if record is not None:
        atomic_write_bytes(record, (outcomes[0].folder / FILE).read_bytes())


@app.command()
def compare_features(
    official: Annotated[Path, typer.Option(help="Folder of official features, with clip_features/ and the like.")],
    own: Annotated[Path, typer.Option(help="Folder of extracted features, likewise.")],
    stream: Annotated[
        list[StreamName] | None, typer.Option(help="May be repeated. Default: all that both folders have.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Files per stream that are compared at most.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write everything to this file.")] = None,
) -> None:
    """Say how close extracted features come to official ones; the exit code is 1 if a stream fails."""
    from json import dumps

    from sadetr.extraction.comparison import KINDS, folders_of, measure
    from sadetr.extraction.verdicts import as_json, judge, print_verdicts
    from sadetr.files import atomic_write_text

    folders = folders_of(official, own, [name.value for name in stream or []])
    measured = {name: measure(KINDS[name], *pair, limit) for name, pair in folders.items()}
    verdicts = judge(measured)
    if json is not None:
        atomic_write_text(json, dumps(as_json(measured, verdicts), indent=1, ensure_ascii=False) + "\n")
    print_verdicts(measured, verdicts)
    raise typer.Exit(1 if any(verdict.word == "fail" for verdict in verdicts.values()) else 0)
