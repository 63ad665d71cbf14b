"""Memory of a training step of a method at the paper's size. Prints one line of JSON, in MiB.

    python benchmarks/memory.py [--method qd_detr] [--device cuda]

``imported`` is what the process holds before there is a network, ``network`` with it, ``step`` the most until some
steps are done: resident memory of the process, and on a GPU (``device_mib``) the most that PyTorch had allocated there
and, more, had reserved. Weights, gradients and moments of AdamW alone take ``least_mib``.
"""

import argparse
import resource

import torch

# An optimiser imports it when it is made: not the network's memory.
import torch._dynamo
from measuring import SEED, report
from training_step import TrainingStep, parameter_counts, run, synthetic_batch

from sadetr.configuration import resolve
from sadetr.models.construction import make_method
from sadetr.randomness import Streams
from sadetr.training.allocation import keep_freed_memory
from sadetr.training.reproducibility import make_deterministic

BYTES_PER_PARAMETER = 16
"""Weight, gradient and two moments in single precision."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", default="sa_detr")
    parser.add_argument("--variant", default="full")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument("--steps", type=int, default=8)
    arguments = parser.parse_args()
    make_deterministic(arguments.threads)
    keep_freed_memory()
    device = torch.device(arguments.device)
    settings = resolve("qvhighlights", arguments.method, arguments.variant, SEED, "paper")
    streams = Streams(SEED)
    streams.seed_global("initialisation", 0)
    resident = {"imported": resident_mib()}
    model = make_method(settings).to(device).train()
    resident["network"] = resident_mib()
    batch = synthetic_batch(settings, streams.numpy("benchmark", 0))
    training = TrainingStep(model, settings.training, batch, streams.torch("method", 0))
    run(training, arguments.steps, lambda parts: [part() for part in parts.values()])
    resident["step"] = resident_mib()
    held = {}
    if device.type == "cuda":
        allocated, reserved = torch.cuda.max_memory_allocated(device), torch.cuda.max_memory_reserved(device)
        held = {"device_mib": {"allocated": round(allocated / 2**20, 1), "reserved": round(reserved / 2**20, 1)}}
    line = {
        "method": arguments.method,
        "variant": arguments.variant,
        "mib": held["device_mib"]["reserved"] if held else resident["step"],
        "resident_mib": resident,
        **held,
        "least_mib": round(sum(parameter_counts(model).values()) * BYTES_PER_PARAMETER / 2**20, 1),
        "batch": list(batch.video.shape),
        "tokens": list(batch.text.shape),
        "steps": arguments.steps,
    }
    report(line, device)


def resident_mib() -> float:
    """Most memory that this process has had resident (Linux counts it in KiB)."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10, 1)


if __name__ == "__main__":
    main()
