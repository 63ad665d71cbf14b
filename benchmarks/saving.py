"""What keeping the resumable state costs a training after each epoch. Prints one line of JSON.

    python benchmarks/saving.py [--method qd_detr] [--device cuda]

Of a network at the paper's size with the moments of its optimiser and a chosen epoch. ``copy`` and ``hand_over`` are
what the training waits for; ``write`` goes on beside the next epoch, ``write_cpu`` is its CPU time.
"""

import argparse
import tempfile
import time
from pathlib import Path

import torch
from measuring import SEED, milliseconds, report, spread

from sadetr.configuration import resolve
from sadetr.models.construction import make_method
from sadetr.training.checkpoint import Chosen, TrainingState, optimiser_tensors, snapshot
from sadetr.training.optimiser import make_optimiser
from sadetr.training.reproducibility import make_deterministic
from sadetr.training.saving import BackgroundSaver

SETTLING = 0.5
"""Seconds between two states, as if there were an epoch."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", default="sa_detr")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--folder", type=Path, help="where the temporary state goes")
    arguments = parser.parse_args()
    make_deterministic(1)
    device = torch.device(arguments.device)
    with tempfile.TemporaryDirectory(prefix="saving_", dir=arguments.folder) as folder:
        path = Path(folder) / "state.safetensors"
        times = measure(arguments.method, device, path, 1 + arguments.repeats)
        size = path.stat().st_size
    line = {
        "method": arguments.method,
        **{name: spread(values[1:]) for name, values in times.items()},
        "bytes": size,
    }
    report(line, device)


def measure(method: str, device: torch.device, path: Path, repeats: int) -> dict[str, list[float]]:
    """Milliseconds of each part, state by state; the first is to warm up."""
    settings = resolve("qvhighlights", method, "full", SEED, "paper")
    model = make_method(settings).to(device)
    optimiser = make_optimiser(model, settings.training)
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimiser.step()
    state = TrainingState("benchmark", chosen={"best": Chosen(1, 0.0, snapshot(model))})
    times: dict[str, list[float]] = {"copy": [], "hand_over": [], "write": [], "write_cpu": []}

    def copy() -> None:
        state.weights = snapshot(model)
        state.optimiser = optimiser_tensors(optimiser, model)

    save = TrainingState.save

    def write(frozen: TrainingState, target: Path) -> None:
        started = time.perf_counter(), time.thread_time()
        save(frozen, target)
        times["write"].append(1000 * (time.perf_counter() - started[0]))
        times["write_cpu"].append(1000 * (time.thread_time() - started[1]))

    TrainingState.save = write
    try:
        with BackgroundSaver(path, lambda _: None) as saver:
            for _ in range(repeats):
                times["copy"].append(milliseconds(copy, device))
                times["hand_over"].append(milliseconds(lambda: saver.save(state), device))
                time.sleep(SETTLING)
    finally:
        TrainingState.save = save
    return times


if __name__ == "__main__":
    main()
