"""Train a method over seeds in another precision and in float32, and say whether results differ by more than seeds do.

    python -m sadetr generate --setting qvhighlights
    python -m sadetr prepare --setting qvhighlights
    python benchmarks/precision.py [--method sa_detr] [--precision bf16] [--seeds 6] [--device cuda]

The trainings are those of the scale `mini`, on generated data. Prints one line of JSON: of the best epoch by mAP the
means and standard deviations over seeds in both precisions, and the 95 % interval of the mean difference, seed by seed.
"""

import argparse
import contextlib
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import SEED, report
from scipy import stats

from sadetr.configuration import load_method, load_scale, resolve
from sadetr.data.annotations import read_annotations
from sadetr.data.batches import Split
from sadetr.data.store import FeatureStore
from sadetr.errors import SadetrError
from sadetr.layout import Layout
from sadetr.models.construction import make_method
from sadetr.randomness import Streams
from sadetr.training.checkpoint import TrainingState
from sadetr.training.devices import claimed
from sadetr.training.loop import Trainer
from sadetr.training.recorders import way_of
from sadetr.training.reproducibility import make_deterministic

SETTING, REFERENCE, SELECTED = "qvhighlights", "float32", "mAP"
METRICS = ("R1@0.5", "R1@0.7", SELECTED, "HD_mAP", "HIT@1")


def main() -> int:
    arguments = parse_arguments()
    device = torch.device(arguments.device)
    try:
        best = {
            precision: [trained(arguments, precision, SEED + number) for number in range(arguments.seeds)]
            for precision in (REFERENCE, arguments.precision)
        }
    except SadetrError as error:
        print(error, file=sys.stderr)
        return 1
    line = {
        "method": arguments.method,
        "precision": arguments.precision,
        "data": "generated",
        "scale": arguments.scale,
        "seeds": arguments.seeds,
        "metrics": {name: beside(*([row[name] for row in rows] for rows in best.values())) for name in METRICS},
        "cpu_seconds": {name: round(sum(row["cpu_s"] for row in rows), 1) for name, rows in best.items()},
    }
    report(line, device)
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", default="sa_detr")
    parser.add_argument("--precision", choices=["bf16", "tf32"], default="bf16")
    parser.add_argument("--seeds", type=int, default=6, help=f"{SEED} and the ones behind it; two at least")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--scale", default="mini")
    parser.add_argument("--results", type=Path, default=Path("results"), help="where `prepare` wrote the features")
    return parser.parse_args()


def trained(arguments: argparse.Namespace, precision: str, seed: int) -> dict[str, float]:
    """The best epoch of one training, and the CPU time that it took."""
    variant = next(iter(load_method(arguments.method).variants))
    settings = resolve(SETTING, arguments.method, variant, seed, arguments.scale)
    training = settings.training.model_copy(update={"precision": precision})
    settings = settings.model_copy(update={"training": training})
    layout = Layout(load_scale(arguments.scale), arguments.results)
    store = FeatureStore.open(layout.store(SETTING))
    splits = {
        split: Split(read_annotations(file, settings.dataset.annotation_rules), store, settings.dataset)
        for split, file in layout.annotations(settings.dataset).items()
    }
    make_deterministic(arguments.threads)
    Streams(seed).seed_global("initialisation", 0)
    # What is said of the device, and progress, go to standard error: standard output holds JSON alone.
    with contextlib.redirect_stdout(sys.stderr), claimed(arguments.device) as claim:
        model = make_method(settings).to(claim.device)
        way = way_of(settings.execution.step, claim)
        state, started = TrainingState(""), time.process_time()
        for _ in Trainer(model, settings, splits["train"], splits, state, way).epochs():
            pass
    best = max(state.history, key=lambda row: row[f"val/{SELECTED}"])
    return {name: best[f"val/{name}"] for name in METRICS} | {"cpu_s": time.process_time() - started}


def beside(reference: list[float], other: list[float]) -> dict[str, Any]:
    """Mean and standard deviation of both, and the 95 % interval of the mean difference of pairs."""
    differences = np.subtract(other, reference)
    half = stats.t.ppf(0.975, len(differences) - 1) * differences.std(ddof=1) / len(differences) ** 0.5
    middle = differences.mean()
    return {
        "float32": [rounded(np.mean(reference)), rounded(np.std(reference, ddof=1))],
        "other": [rounded(np.mean(other)), rounded(np.std(other, ddof=1))],
        "difference": [rounded(middle - half), rounded(middle + half)],
    }


def rounded(value: float) -> float:
    return round(float(value), 2)


if __name__ == "__main__":
    sys.exit(main())
