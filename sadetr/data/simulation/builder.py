"""Makes a feature store of simulated features straight from real annotations."""

import contextlib
import itertools
import os
import shutil
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from sadetr.data.annotations import Query, clip_count
from sadetr.data.characters import characters_of
from sadetr.data.packing import add_query, averaged, create_store, describe_source, normalise_rows, with_progress
from sadetr.data.preparation import read_queries, video_durations
from sadetr.data.simulation.embedding import WordSpace
from sadetr.data.simulation.features import VideoModel
from sadetr.data.simulation.text import TextModel
from sadetr.data.simulation.timeline import Video
from sadetr.errors import DataError, ResultsError
from sadetr.settings import DatasetSettings, FeatureSettings, SimulationSettings

NOTE = "Simulated features, see docs/simulated_features.md: not comparable with results on the benchmark's own"

SPARE_BYTES = 64 << 20
"""Kept free beyond the features themselves: names, offsets, and a little for others."""

AHEAD = 4
"""Videos per worker that are in the making at most: what bounds the memory."""

_In = TypeVar("_In")
_Out = TypeVar("_Out")


def simulate(
    dataset: DatasetSettings,
    features: FeatureSettings,
    simulation: SimulationSettings,
    annotations: dict[str, Path],
    out: Path,
    fingerprint: str = "",
    workers: int | None = None,
) -> None:
    """Write a feature store for all annotated videos and queries of ``dataset``, at ``out``.

    The same settings give the same bits, whatever the number of workers. The features of a video depend on its own
    queries alone, those of a query on its text alone.

    Args:
        dataset: which splits, streams and lengths.
        features: how rows are stored.
        simulation: how hard they are.
        annotations: split -> file; nothing else is read.
        out: the store's folder; an earlier store there is replaced once the new one is complete.
        fingerprint: identifies the code and settings; kept in the manifest.
        workers: threads; default: the processor's cores.

    Raises:
        DataError: annotations are missing, malformed or without windows. Nothing is written then.
        SettingsError: ``simulation`` lacks a stream.
        ResultsError: ``out`` cannot be written or has too little room.
    """
    queries = read_queries(annotations, dataset.annotation_rules)
    videos = annotated_videos(queries, dataset, simulation)
    _check_room(out, dataset, features, videos, queries)
    space = WordSpace(simulation.seed)
    text, video = TextModel(simulation.seed, dataset, space), VideoModel(simulation, dataset, space)
    dtype = getattr(torch, features.dtype)

    def in_store_type(record: Video) -> dict[str, NDArray]:
        # By torch: numpy takes longer to make halves than the disk to write them.
        made = video.features(record)
        if dataset.max_positions is not None:
            made = {name: normalise_rows(averaged(rows, dataset.max_positions)) for name, rows in made.items()}
        return {name: torch.from_numpy(rows).to(dtype).numpy() for name, rows in made.items()}

    characters = characters_of(dataset, queries)
    origin = {"note": NOTE, "simulation": simulation.model_dump(mode="json")}
    origin |= describe_source(dataset, annotations, fingerprint)
    with create_store(out, dataset, features, origin, characters) as writer, _one_thread_per_worker():
        made = _in_order(in_store_type, videos, workers or len(os.sched_getaffinity(0)))
        for record in with_progress(videos, "simulated videos"):
            writer.add_video(record.vid, next(made))
        for query in with_progress(queries, "simulated queries"):
            add_query(writer, dataset, query, text.features(query.query), characters)


def annotated_videos(queries: list[Query], dataset: DatasetSettings, simulation: SimulationSettings) -> list[Video]:
    """All videos in the order of their first query.

    Raises:
        DataError: a query has no windows or no words, or a video is shorter than one clip.
    """
    short = {str(qid) for qid in simulation.short_features}
    by_video: dict[str, list[Query]] = defaultdict(list)
    for query in queries:
        if query.windows is None:
            raise DataError(
                f"qid {query.qid}: no relevant_windows, so what its video shows cannot be simulated. Use annotation "
                "files with labels for every split."
            )
        if not query.query.split():
            raise DataError(f"qid {query.qid}: the query has no words. Correct the annotations.")
        by_video[query.vid].append(query)
    videos = []
    for vid, duration in video_durations(queries).items():
        clips = min(clip_count(duration, dataset.clip_length), dataset.max_video_clips or np.inf)
        clips -= any(str(query.qid) in short for query in by_video[vid])
        if clips < 1:
            raise DataError(f"video {vid!r}: {duration:g} s are less than a clip of {dataset.clip_length:g} s")
        videos.append(Video(vid, duration, int(clips), dataset.clip_length, by_video[vid]))
    return videos


def _check_room(
    out: Path, dataset: DatasetSettings, features: FeatureSettings, videos: list[Video], queries: list[Query]
) -> None:
    """Fail before the work is done, not at the end of it."""
    clips = sum(video.clips for video in videos)
    tokens = sum(len(query.query.split()) + 2 for query in queries)
    numbers = clips * dataset.video_width + tokens * dataset.text_stream.width
    needed = numbers * np.dtype(features.dtype).itemsize + SPARE_BYTES
    existing = next(parent for parent in out.absolute().parents if parent.exists())
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise ResultsError(
            f"{out}: the feature store of {dataset.name} takes {needed / 1e9:.1f} GB ({features.dtype}), the disk has "
            f"{free / 1e9:.1f} GB free. Make room, or choose a folder on another disk with --results."
        )


@contextlib.contextmanager
def _one_thread_per_worker() -> Iterator[None]:
    """Workers that each start threads of their own only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _in_order(function: Callable[[_In], _Out], items: Iterable[_In], workers: int) -> Iterator[_Out]:
    """``map`` by several threads, never more than a few results ahead of the consumer."""
    pending: deque = deque()
    items = iter(items)
    with ThreadPoolExecutor(workers, thread_name_prefix="simulate") as executor:
        try:
            for item in itertools.islice(items, AHEAD * workers):
                pending.append(executor.submit(function, item))
            while pending:
                result = pending.popleft().result()
                for item in itertools.islice(items, 1):
                    pending.append(executor.submit(function, item))
                yield result
        finally:
            for future in pending:
                future.cancel()
