"""The subcommand that serves a page to try a network on videos of one's own."""

from importlib.util import find_spec
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
from sadetr.cli.locating import (
    Checkpoint,
    ComputeDevice,
    Downloads,
    FileMethod,
    FileSetting,
    FileVariant,
    TrainedRun,
    TrainedScale,
    check_network,
)
from sadetr.cli.options import RESULTS, Results, app
from sadetr.errors import SettingsError
from sadetr.extraction.choices import Device, Sampling


@app.command()
def serve(
    context: typer.Context,
    run: TrainedRun = None,
    checkpoint: Checkpoint = "best",
    setting: FileSetting = None,
    method: FileMethod = None,
    variant: FileVariant = None,
    host: Annotated[str, typer.Option(help="Address to listen on; others than this machine's may see the page.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0: any that is free.")] = 8000,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(help="A name that visitors may call this server by, beside localhost; may be repeated."),
    ] = None,
    max_upload: Annotated[int, typer.Option(min=1, help="Megabytes of a video.")] = 500,
    max_minutes: Annotated[float, typer.Option(min=0.05, help="Length of a video.")] = 30,
    max_videos: Annotated[int, typer.Option(min=1, help="Videos that are held at a time.")] = 8,
    decode_seconds: Annotated[int, typer.Option(min=1, help="Time that decoding a video may take.")] = 900,
    decode_memory: Annotated[int, typer.Option(min=512, help="MiB that decoding a video may take.")] = 2048,
    keep_minutes: Annotated[float, typer.Option(min=1, help="A video is deleted after so long without its page.")] = 10,
    scale: TrainedScale = "paper",
    results: Results = RESULTS,
    data_root: Downloads = None,
    device: ComputeDevice = Device.auto,
    clip_weights: ClipWeights = None,
    slowfast_weights: SlowFastWeights = None,
    bpe: VocabularyFile = None,
    other_weights: OtherWeights = False,
    max_tokens: MaxTokens = 32,
    sampling: SlowFastSampling = Sampling.hero,
) -> None:
    """Serve a page on this machine: a video, a sentence, the moments that are found on a timeline over the player."""
    if any(find_spec(library) is None for library in ("starlette", "uvicorn")):
        raise SettingsError(
            "the page needs starlette and uvicorn, of the optional extra 'demo': pip install starlette uvicorn"
        )
    from sadetr.extraction.streams import Options
    from sadetr.locating.predictor import Predictor
    from sadetr.serving.command import address, end_cleanly, listen, serve
    from sadetr.serving.folder import upload_folder
    from sadetr.serving.limits import MB, MIB, Limits
    from sadetr.training.devices import claimed_device

    check_network(context, run)
    limits = Limits(
        upload=max_upload * MB,
        duration=60 * max_minutes,
        time=float(decode_seconds),
        memory=decode_memory * MIB,
        videos=max_videos,
        keep=60 * keep_minutes,
    )
    end_cleanly()
    with (
        listen(host, port) as listening,
        claimed_device(device.value, option="--device") as claimed,
        upload_folder() as folder,
    ):
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
        )
        print(f"{predictor.name}\n{address(listening)}  (Ctrl-C ends it)", flush=True)
        serve(predictor, limits, folder, listening, [host, *(allow_host or [])])
