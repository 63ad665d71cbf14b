"""What makes a training give the same bits every time: its private streams of randomness, and deterministic kernels."""

import os

import torch

from sadetr.training.precision import allow_tf32


def make_deterministic(threads: int) -> None:
    """Fix what decides the bits of a result: deterministic kernels and the number of CPU threads."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # `use_deterministic_algorithms` also tells torch's compiler, for which it imports it: nearly two seconds. Who
    # compiles says it again.
    torch.set_deterministic_debug_mode("error")
    # Only code that reads what it never wrote would notice, and it costs a tenth of a narrow step.
    torch.utils.deterministic.fill_uninitialized_memory = False
    torch.backends.cudnn.benchmark = False
    # Training may allow it within its steps; predictions are float32.
    allow_tf32(False)
    torch.set_num_threads(threads)
    # Denormals, common once a loss saturates, are a hundred times slower and below any gradient that matters.
    torch.set_flush_denormal(True)
