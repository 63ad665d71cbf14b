"""How well linear probes find moments in simulated features: neither at chance nor perfectly. Prints lines of JSON.

    python benchmarks/simulated_difficulty.py --data-root DIR [--setting charades_sta]

``DIR/annotations/<setting>/`` holds the official annotations. Features of some training and evaluation videos are made in
memory (they are those of the full store), probes are fitted on the former and judged on the latter.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from sadetr.configuration import resolve_dataset, resolve_simulation
from sadetr.data.annotations import Query, read_annotations
from sadetr.data.simulation.builder import annotated_videos
from sadetr.data.simulation.embedding import WordSpace
from sadetr.data.simulation.features import VideoModel
from sadetr.data.simulation.text import TextModel
from sadetr.errors import SadetrError
from sadetr.settings import DatasetSettings, SimulationSettings

RIDGE = 1.0
"""Penalty of the probes relative to the mean square of their inputs."""


@dataclass(frozen=True)
class Sample:
    """One query: its summed-up text, its video's clips without their mean, and which of them lie in a window."""

    text: NDArray[np.float32]
    clips: dict[str, NDArray[np.float32]]
    inside: NDArray[np.bool_]


def main() -> int:
    arguments = parse_arguments()
    try:
        dataset = resolve_dataset(arguments.setting, arguments.scale)
        simulation = resolve_simulation(arguments.setting, arguments.scale)
        folder = arguments.data_root / "annotations" / dataset.name
        files = {
            split: folder / dataset.annotations[split] for split in (dataset.train_split, dataset.report_splits[0])
        }
        fitted, judged = (
            list(samples(read_annotations(file, dataset.clip_length), count, dataset, simulation))
            for file, count in zip(files.values(), (arguments.fit, arguments.judge), strict=True)
        )
    except SadetrError as error:
        print(error, file=sys.stderr)
        return 1
    names = [stream.name for stream in dataset.video_streams]
    for streams in dict.fromkeys([*((name,) for name in names), tuple(names)]):
        matched, text_free = probes(fitted, streams)
        result = {
            "benchmark": "simulated_difficulty",
            "setting": dataset.name,
            "streams": streams,
            "auc_matched": mean_auc(judged, lambda sample, s=streams: stacked(sample, s) @ matched(sample.text)),
            "auc_other_text": mean_auc(judged, lambda sample, s=streams: stacked(sample, s) @ matched(judged[0].text)),
            "auc_text_free": mean_auc(judged, lambda sample, s=streams: stacked(sample, s) @ text_free),
            "fit_queries": len(fitted),
            "judged_queries": len(judged),
        }
        print(json.dumps(result), flush=True)
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--setting", default="qvhighlights")
    parser.add_argument("--scale", default="simulated")
    parser.add_argument("--fit", type=int, default=1500, help="training queries that the probes are fitted on")
    parser.add_argument("--judge", type=int, default=300, help="queries of the first reported split")
    return parser.parse_args()


def samples(
    queries: list[Query], count: int, dataset: DatasetSettings, simulation: SimulationSettings
) -> Iterator[Sample]:
    """The queries of the first videos, until there are ``count``."""
    space = WordSpace(simulation.seed)
    texts, videos = TextModel(simulation.seed, dataset, space), VideoModel(simulation, dataset, space)
    for video in annotated_videos(queries, dataset, simulation):
        clips = {name: rows - rows.mean(0) for name, rows in videos.features(video).items()}
        middles = (np.arange(video.clips) + 0.5) * dataset.clip_length
        for query in video.queries:
            inside = ((query.windows[:, :1] <= middles) & (middles < query.windows[:, 1:])).any(0)
            count -= 1
            if inside.any() and not inside.all():
                yield Sample(texts.features(query.query).mean(0), clips, inside)
        if count <= 0:
            return


def stacked(sample: Sample, streams: tuple[str, ...]) -> NDArray[np.float32]:
    """(L, sum of widths)."""
    return np.concatenate([sample.clips[name] for name in streams], axis=1)


def probes(fitted: list[Sample], streams: tuple[str, ...]) -> tuple:
    """Linear maps from the text, and from nothing, to the direction from the outside clips' mean to the inside ones'."""
    texts = np.stack([sample.text for sample in fitted]).astype(np.float64)
    directions = [stacked(sample, streams) for sample in fitted]
    directions = np.stack(
        [
            rows[sample.inside].mean(0) - rows[~sample.inside].mean(0)
            for rows, sample in zip(directions, fitted, strict=True)
        ]
    )
    centre, common = texts.mean(0), directions.mean(0)
    texts -= centre
    gram = texts.T @ texts
    penalty = RIDGE * np.trace(gram) / len(gram)
    weights = np.linalg.solve(gram + penalty * np.eye(len(gram)), texts.T @ (directions - common))
    return lambda text: common + (text - centre) @ weights, common


def mean_auc(judged: list[Sample], score) -> float:
    """Mean over queries of the chance that a clip inside a window scores higher than one outside."""
    values = []
    for sample in judged:
        ranks, inside = rankdata(score(sample)), sample.inside.sum()
        outside = len(ranks) - inside
        values.append((ranks[sample.inside].sum() - inside * (inside + 1) / 2) / (inside * outside))
    return round(float(np.mean(values)), 3)


if __name__ == "__main__":
    sys.exit(main())
