"""How well linear probes find moments in simulated features: neither by chance nor perfectly. Prints lines of JSON.

    python benchmarks/simulated_difficulty.py --data-root DIR [--setting charades_sta]

``DIR/annotations/`` holds the official annotations. Features of some training and evaluation videos are made in memory
(they are those of the full store); probes are fitted on the former and judged on the latter.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from measuring import report
from numpy.typing import NDArray
from scipy.stats import rankdata

from sadetr.configuration import load_scale, resolve_dataset, resolve_simulation
from sadetr.data.annotations import Query, read_annotations
from sadetr.data.simulation.builder import annotated_videos
from sadetr.data.simulation.embedding import WordSpace
from sadetr.data.simulation.features import VideoModel
from sadetr.data.simulation.text import TextModel
from sadetr.errors import SadetrError
from sadetr.layout import Layout
from sadetr.settings import DatasetSettings, SimulationSettings

RIDGE = 1.0
"""Penalty of the probes relative to the mean square of their inputs."""

Streams = tuple[str, ...]


@dataclass(frozen=True)
class Sample:
    """One query: the mean of its tokens, its video's clips without their mean, and which of them lie in a window."""

    text: NDArray[np.float32]
    clips: dict[str, NDArray[np.float32]]
    inside: NDArray[np.bool_]

    def stacked(self, streams: Streams) -> NDArray[np.float32]:
        """Features of the streams side by side, (L, sum of widths)."""
        return np.concatenate([self.clips[name] for name in streams], axis=1)


def main() -> int:
    arguments = parse_arguments()
    try:
        dataset = resolve_dataset(arguments.setting, arguments.scale)
        simulation = resolve_simulation(arguments.setting, arguments.scale)
        files = Layout(load_scale(arguments.scale), given_data_root=arguments.data_root).annotations(dataset)
        counts = {dataset.train_split: arguments.fit, dataset.report_splits[0]: arguments.judge}
        fitted, judged = (
            list(samples(read_annotations(files[split], dataset.annotation_rules), count, dataset, simulation))
            for split, count in counts.items()
        )
    except SadetrError as error:
        print(error, file=sys.stderr)
        return 1
    command = f"python benchmarks/simulated_difficulty.py --data-root DIR --setting {arguments.setting}"
    command += f" --scale {arguments.scale} --fit {arguments.fit} --judge {arguments.judge}"
    names = tuple(stream.name for stream in dataset.video_streams)
    for streams in dict.fromkeys([*((name,) for name in names), names]):
        values = judge(fitted, judged, streams)
        counts = {"fit_queries": len(fitted), "judged_queries": len(judged)}
        report({"setting": dataset.name, "streams": streams, **values, **counts}, command=command)
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
    """The queries of the first videos, at least ``count`` where there are as many."""
    space = WordSpace(simulation.seed)
    texts, videos = TextModel(simulation.seed, dataset, space), VideoModel(simulation, dataset, space)
    for video in annotated_videos(queries, dataset, simulation):
        if count <= 0:
            return
        clips = {name: rows - rows.mean(0) for name, rows in videos.features(video).items()}
        middles = (np.arange(video.clips) + 0.5) * dataset.clip_length
        for query in video.queries:
            count -= 1
            inside = ((query.windows[:, :1] <= middles) & (middles < query.windows[:, 1:])).any(0)
            if inside.any() and not inside.all():
                yield Sample(texts.features(query.query).mean(0), clips, inside)


def judge(fitted: list[Sample], judged: list[Sample], streams: Streams) -> dict[str, float]:
    """Mean AUC over the judged queries of three scores of a clip.

    The map from a text to the direction from the clips outside the windows to those inside is applied to the query's
    own text (``auc_matched``) and to another query's (``auc_other_text``); ``auc_text_free`` takes the mean direction
    for every query: what all windows have in common.
    """
    predict, common = fit(fitted, streams)
    others = [judged[-1], *judged[:-1]]
    return {
        "auc_matched": mean_auc(judged, [predict(sample.text) for sample in judged], streams),
        "auc_other_text": mean_auc(judged, [predict(other.text) for other in others], streams),
        "auc_text_free": mean_auc(judged, [common] * len(judged), streams),
    }


def fit(fitted: list[Sample], streams: Streams) -> tuple[Callable[[NDArray], NDArray], NDArray]:
    """Ridge regression from a text to its direction, and the mean direction."""
    texts = np.stack([sample.text for sample in fitted]).astype(np.float64)
    directions = np.stack([direction(sample.stacked(streams), sample.inside) for sample in fitted])
    centre, common = texts.mean(0), directions.mean(0)
    texts -= centre
    gram = texts.T @ texts
    penalty = RIDGE * np.trace(gram) / len(gram)
    weights = np.linalg.solve(gram + penalty * np.eye(len(gram)), texts.T @ (directions - common))
    return lambda text: common + (text - centre) @ weights, common


def direction(clips: NDArray[np.float32], inside: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Direction (width,) from the mean of the clips outside to that of those inside."""
    return clips[inside].mean(0) - clips[~inside].mean(0)


def mean_auc(judged: list[Sample], directions: list[NDArray], streams: Streams) -> float:
    """Mean over queries of the chance that a clip inside a window lies further along the direction than one outside."""
    values = []
    for sample, toward in zip(judged, directions, strict=True):
        ranks, inside = rankdata(sample.stacked(streams) @ toward), sample.inside.sum()
        outside = len(ranks) - inside
        values.append((ranks[sample.inside].sum() - inside * (inside + 1) / 2) / (inside * outside))
    return round(float(np.mean(values)), 3)


if __name__ == "__main__":
    sys.exit(main())
