"""Cost of scoring, as one line of JSON; times in CPU seconds unless named wall, memory in MiB.

    python benchmarks/scorer.py [--predictions P.jsonl --annotations G.jsonl] [--largest 1000000]

Without files, 1,550 generated queries of QVHighlights' shape (150 s, 75 clips, 10 predictions) are scored.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from sadetr.data.annotations import Query, read_annotations, write_annotations
from sadetr.evaluation.predictions import read_predictions, write_predictions
from sadetr.evaluation.ranking import rerank
from sadetr.evaluation.scorer import evaluate
from sadetr.settings import AnnotationRules
from sadetr.training_settings import GaussianSuppression, HardSuppression, LinearSuppression, ScoreRanking

QUERIES, CLIPS, CLIP_LENGTH = 1550, 75, 2.0
BATCH = 32
REPEATS = 5
RANKINGS = (
    ScoreRanking(),
    HardSuppression(threshold=0.7, kept=10),
    LinearSuppression(threshold=0.3, kept=10),
    GaussianSuppression(threshold=0.3, sigma=0.5, kept=10),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--predictions", type=Path)
    parser.add_argument("--annotations", type=Path)
    parser.add_argument("--largest", type=int, default=1_000_000, help="queries of the last scaling step")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        predictions, annotations = options.predictions, options.annotations
        if predictions is None or annotations is None:
            predictions, annotations = generate(Path(folder))
        measure(predictions, annotations, options.largest)


def measure(predictions: Path, annotations: Path, largest: int) -> None:
    command = [sys.executable, "-m", "sadetr", "evaluate", "--setting", "qvhighlights"]
    command += ["--predictions", str(predictions), "--annotations", str(annotations)]
    walls = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        walls.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    start = time.process_time()
    queries = read_annotations(annotations, AnnotationRules(clip_length=CLIP_LENGTH, label_clip_length=CLIP_LENGTH))
    rows = read_predictions(predictions, queries)
    loading = time.process_time() - start
    first = cost(rows, queries)
    # Not before the commands ran: a child's peak memory starts from what its parent holds, torch included.
    from measuring import report

    line = {
        "queries": len(queries),
        "load_cpu_s": round(loading, 3),
        "score_first_cpu_s": round(first, 3),
        "score_cpu_s": round(min(cost(rows, queries) for _ in range(REPEATS)), 3),
        "rank_cpu_s": ranking_cost(len(queries)),
        "command_wall_s": {"median": round(float(np.median(walls)), 3), "min": round(min(walls), 3)},
        "command_peak_mib": round(peak),
        "cpu_s_per_1000_queries": scaling(rows, queries, largest),
    }
    report(line)


def cost(rows: list[dict[str, Any]], queries: list[Query]) -> float:
    start = time.process_time()
    evaluate(rows, queries, highlights=True, clip_length=CLIP_LENGTH)
    return time.process_time() - start


def ranking_cost(queries: int) -> dict[str, dict[str, float]]:
    """Cost of suppression by kind of ranking and windows per query: a DETR's 10, a window per clip in UniVTG."""
    rng = np.random.default_rng(0)
    costs: dict[str, dict[str, float]] = {}
    for count in (10, CLIPS):
        ends = np.sort(rng.integers(0, CLIPS + 1, (queries, count, 2)), axis=-1) * CLIP_LENGTH
        scores = np.sort(rng.random((queries, count, 1)).round(4), axis=1)[:, ::-1]
        windows = np.concatenate([ends, scores], axis=-1)
        for ranking in RANKINGS:
            seconds = []
            for _ in range(REPEATS):
                start = time.process_time()
                for first in range(0, queries, BATCH):
                    rerank(windows[first : first + BATCH], ranking)
                seconds.append(time.process_time() - start)
            costs.setdefault(ranking.kind, {})[str(count)] = round(min(seconds), 4)
    return costs


def scaling(rows: list[dict[str, Any]], queries: list[Query], largest: int) -> dict[str, float]:
    """Cost per 1,000 queries for ever more of them: constant where the cost is linear."""
    figures = {}
    count = 1000
    while count <= largest:
        # Repeated rows share their windows, so that memory does not limit the measurement.
        copies = range(count)
        many_queries = [replace(queries[index % len(queries)], qid=index) for index in copies]
        by_qid = {row["qid"]: row for row in rows}
        many_rows = [{**by_qid[queries[index % len(queries)].qid], "qid": index} for index in copies]
        figures[str(count)] = round(cost(many_rows, many_queries) / count * 1000, 4)
        count *= 10
    return figures


def generate(folder: Path) -> tuple[Path, Path]:
    """Random annotations, and predictions that are near them, on the 2-second grid."""
    rng = np.random.default_rng(0)
    queries, rows = [], []
    for qid in range(QUERIES):
        ends = np.sort(rng.choice(CLIPS + 1, 2 * min(1 + rng.geometric(0.6), 10), replace=False)).reshape(-1, 2)
        clips = np.concatenate([np.arange(start, end) for start, end in ends])
        saliency = rng.integers(0, 5, (len(clips), 3))
        queries.append(Query(qid, "query", f"video{qid}", CLIPS * CLIP_LENGTH, ends * CLIP_LENGTH, clips, saliency))
        near = np.sort((ends[rng.integers(len(ends), size=10)] + rng.integers(-2, 3, (10, 2))).clip(0, CLIPS), axis=1)
        scores = np.sort(rng.random(10).round(4))[::-1]
        rows.append(
            {
                "qid": qid,
                "query": "query",
                "vid": f"video{qid}",
                "pred_relevant_windows": np.column_stack([near * CLIP_LENGTH, scores]).tolist(),
                "pred_saliency_scores": rng.normal(size=CLIPS).astype(np.float16).tolist(),
            }
        )
    annotations, predictions = folder / "annotations.jsonl", folder / "predictions.jsonl"
    write_annotations(annotations, queries)
    write_predictions(predictions, rows)
    return predictions, annotations


if __name__ == "__main__":
    main()
