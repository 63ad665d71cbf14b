"""Train a method over many seeds and compare its curves with those of its authors' own trainer.

    python -m sadetr generate --setting qvhighlights --scale benchmarks/dynamics.yaml
    python -m sadetr prepare --setting qvhighlights --scale benchmarks/dynamics.yaml
    python benchmarks/dynamics.py --method qd_detr --theirs FILE [--curves FILE]

``--theirs`` has the columns of ``COLUMNS``, a row per method, seed and epoch, from runs on the same corpus. Prints one
line of JSON: means and spreads of the best epochs of both, the interval of the difference, and which of all tests for
equal means (Welch) and equal spreads (Levene) reject, corrected for their number. ``--curves`` keeps our rows in those
columns too, ``--ours`` compares such rows again without training.
"""

import argparse
import contextlib
import hashlib
import itertools
import multiprocessing
import sys
import warnings
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from measuring import report
from scipy import stats

from sadetr.configuration import load_method, load_scale, resolve
from sadetr.data.annotations import read_annotations
from sadetr.data.batches import Split
from sadetr.data.store import FeatureStore
from sadetr.errors import DataError, SadetrError
from sadetr.files import atomic_write_text
from sadetr.layout import Layout
from sadetr.models.construction import make_method
from sadetr.randomness import Streams
from sadetr.training.checkpoint import TrainingState
from sadetr.training.loop import Trainer
from sadetr.training.reproducibility import make_deterministic

SETTING = "qvhighlights"
SCALE = str(Path(__file__).with_suffix(".yaml"))
LOSS, SELECTED = "train_loss", "mAP"
METRICS = ("R1@0.5", "R1@0.7", SELECTED, "HD_mAP", "HIT@1")
COLUMNS = ("method", "seed", "epoch", LOSS, *METRICS)
SEEDS = (2018, *range(19))
"""Those of the authors' QD-DETR runs."""
CORPUS = {
    "train": "cb7b0ac7399b52f5752a9e95d07f50aefe744bf629fc006137e6571935f5dd2c",
    "val": "310afd411f63f531db0a19dd516c77366000d643e25a4a962018d4f38fedd14f",
}
"""Split -> sha256 of its annotations in the corpus that the authors' trainers were run on."""
LEVEL = 0.05


def main() -> int:
    arguments = parse_arguments()
    try:
        theirs = read_curves(arguments.theirs, arguments.method)
        if arguments.ours:
            ours = read_curves(arguments.ours, arguments.method)
        else:
            ours = trained(arguments)
            if arguments.curves:
                atomic_write_text(arguments.curves, ours.to_csv(index=False, float_format="%.6g"))
        line = {"method": arguments.method, "data": "generated"} | compare(ours, theirs)
        report(line, command=f"python benchmarks/dynamics.py --method {arguments.method} --theirs FILE")
    except SadetrError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", default="qd_detr")
    parser.add_argument("--theirs", type=Path, required=True, help="curves of the authors' trainer")
    parser.add_argument("--ours", type=Path, help="compare these curves instead of training")
    parser.add_argument("--curves", type=Path, help="file for our curves")
    parser.add_argument("--seeds", type=int, default=len(SEEDS), help=f"the first ones of {SEEDS[0]}, 0, 1, ...")
    parser.add_argument("--epochs", type=int, help="stop earlier; schedules stay those of the whole training")
    parser.add_argument("--processes", type=int, default=2, help="trainings at a time, on one thread each")
    parser.add_argument("--results", type=Path, default=Path("results"), help="where `prepare` wrote the features")
    return parser.parse_args()


def read_curves(path: Path, method: str) -> pd.DataFrame:
    """The rows of ``method``.

    Raises:
        DataError: the file lacks columns, or rows of the method.
    """
    curves = pd.read_csv(path)
    if missing := [name for name in COLUMNS if name not in curves]:
        raise DataError(f"{path}: no column {missing[0]!r}; it needs {', '.join(COLUMNS)}")
    rows = curves[curves["method"] == method]
    if rows.empty:
        raise DataError(f"{path}: no row of method {method!r}; it has {', '.join(sorted(set(curves['method'])))}")
    return rows


def trained(arguments: argparse.Namespace) -> pd.DataFrame:
    """Our curves, one training per seed.

    Raises:
        DataError: the corpus is not there, or another than the authors' trainers were run on.
    """
    layout = Layout(load_scale(SCALE), arguments.results)
    annotations = layout.annotations(resolve(SETTING, arguments.method, "full", SEEDS[0], SCALE).dataset)
    for split, digest in CORPUS.items():
        if not annotations[split].exists():
            raise DataError(f"{annotations[split]}: not there; run the two commands of {Path(__file__).name} --help")
        if hashlib.sha256(annotations[split].read_bytes()).hexdigest() != digest:
            raise DataError(f"{annotations[split]}: not the corpus of the authors' runs; generate it by {SCALE}")
    train = partial(curve, arguments.method, arguments.results, arguments.epochs)
    with multiprocessing.get_context("spawn").Pool(arguments.processes) as pool:
        curves = pool.map(train, SEEDS[: arguments.seeds], chunksize=1)
    return pd.DataFrame([row for rows in curves for row in rows], columns=COLUMNS)


def curve(method: str, results: Path, epochs: int | None, seed: int) -> list[dict[str, Any]]:
    """A row per epoch of one training, on one thread."""
    settings = resolve(SETTING, method, next(iter(load_method(method).variants)), seed, SCALE)
    layout = Layout(load_scale(SCALE), results)
    store = FeatureStore.open(layout.store(SETTING))
    rules = settings.dataset.annotation_rules
    splits = {
        split: Split(read_annotations(file, rules), store, settings.dataset)
        for split, file in layout.annotations(settings.dataset).items()
    }
    make_deterministic(1)
    Streams(seed).seed_global("initialisation", 0)
    trainer = Trainer(make_method(settings), settings, splits["train"], splits, TrainingState(""))
    rows = []
    # Progress goes to standard error: standard output holds JSON alone.
    with contextlib.redirect_stdout(sys.stderr):
        for reached in itertools.islice(trainer.epochs(), epochs):
            row = reached.history[-1]
            values = {name: row[f"val/{name}"] for name in METRICS}
            rows.append({"method": method, "seed": seed, "epoch": row["epoch"], LOSS: row["loss"]} | values)
    return rows


def compare(ours: pd.DataFrame, theirs: pd.DataFrame) -> dict[str, Any]:
    """Best epochs of both, and every test that tells them apart.

    Tests are made of the loss and the metrics at every epoch that both have, and of the metrics and the number of the
    best epoch by mAP: Welch's for the means, Levene's about the medians for the spreads. p-values are corrected by Holm
    over all of them.
    """
    best = [rows.loc[rows.groupby("seed")[SELECTED].idxmax()] for rows in (ours, theirs)]
    samples = {f"best/{name}": tuple(rows[name].to_numpy() for rows in best) for name in (*METRICS, "epoch")}
    for epoch in sorted(set(ours["epoch"]) & set(theirs["epoch"])):
        at = [rows[rows["epoch"] == epoch] for rows in (ours, theirs)]
        samples |= {f"epoch {epoch}/{name}": tuple(rows[name].to_numpy() for rows in at) for name in (LOSS, *METRICS)}
    found = {(name, kind): test(*pair) for name, pair in samples.items() for kind, test in TESTS.items()}
    corrected = dict(zip(found, holm(found.values()), strict=True))
    return {
        "seeds": {"ours": ours["seed"].nunique(), "theirs": theirs["seed"].nunique()},
        "best": {name: beside(*samples[f"best/{name}"]) for name in (*METRICS, "epoch")},
        "tests": len(found),
        "smallest_p": {kind: {"raw": smallest(found, kind), "corrected": smallest(corrected, kind)} for kind in TESTS},
        "rejected": [f"{kind}: {name}" for (name, kind), value in corrected.items() if value < LEVEL],
    }


def beside(ours: np.ndarray, theirs: np.ndarray) -> dict[str, Any]:
    """Mean and standard deviation of both, and the 95 % interval of the difference of the means (Welch)."""
    interval = _ttest(ours, theirs).confidence_interval(1 - LEVEL)
    described = {
        name: [_rounded(x.mean()), _rounded(x.std(ddof=1))] for name, x in (("ours", ours), ("theirs", theirs))
    }
    return described | {"difference": [_rounded(end) for end in interval]}


def _ttest(ours: np.ndarray, theirs: np.ndarray) -> Any:
    with warnings.catch_warnings():
        # One side is a constant: scipy warns that its variance is not exact, and 0 it is.
        warnings.simplefilter("ignore", RuntimeWarning)
        return stats.ttest_ind(ours, theirs, equal_var=False)


def welch(ours: np.ndarray, theirs: np.ndarray) -> float:
    """p of equal means; of two constants 1 where they are equal and 0 otherwise."""
    if np.ptp(ours) == np.ptp(theirs) == 0:
        return float(ours[0] == theirs[0])
    return float(_ttest(ours, theirs).pvalue)


def levene(ours: np.ndarray, theirs: np.ndarray) -> float:
    """p of equal spreads; 1 for two constants."""
    if np.ptp(ours) == np.ptp(theirs) == 0:
        return 1.0
    return float(np.nan_to_num(stats.levene(ours, theirs, center="median").pvalue, nan=1.0))


TESTS = {"mean": welch, "spread": levene}


def holm(values: Iterable[float]) -> np.ndarray:
    """p-values corrected for their number, in the given order (Holm 1979)."""
    values = np.array(list(values))
    order = values.argsort(kind="stable")
    steps = np.minimum(np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1)), 1)
    corrected = np.empty_like(steps)
    corrected[order] = steps
    return corrected


def smallest(values: dict[tuple[str, str], float], kind: str) -> float:
    """Least p-value of one kind of test."""
    return float(f"{min(value for (_, own), value in values.items() if own == kind):.3g}")


def _rounded(value: float) -> float:
    return round(float(value), 2)


if __name__ == "__main__":
    sys.exit(main())
