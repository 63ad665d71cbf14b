"""What the device can do at most, measured: a matrix product and a copy."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

SIDE = {"cpu": 1024, "cuda": 8192}
"""Rows and columns of the multiplied matrices."""
COPIED = {"cpu": 2**26, "cuda": 2**30}
"""Bytes of the copied array: more than caches hold."""
REPEATS = 5


@dataclass(frozen=True)
class Limits:
    """Of float32 arithmetic as training has it, and of the device's memory."""

    flops_per_second: float
    bytes_per_second: float
    """Read and written together."""

    def least_seconds(self, flops: float, moved: float) -> float:
        """The least time for so much work: the longer of computing and moving, as if both went on at once."""
        return max(flops / self.flops_per_second, moved / self.bytes_per_second)


def measure_limits(device: torch.device) -> Limits:
    """Fractions of a second on anything; medians."""
    side, size = SIDE[device.type], COPIED[device.type] // 4
    matrix, source = torch.ones(side, side, device=device), torch.ones(size, device=device)
    product, target = torch.empty_like(matrix), torch.empty_like(source)
    multiplied = _seconds(lambda: torch.mm(matrix, matrix, out=product), device)
    copied = _seconds(lambda: target.copy_(source), device)
    return Limits(2 * side**3 / multiplied, 2 * source.numel() * source.element_size() / copied)


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    """Median time of ``work``, after once that does not count."""
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    times = []
    for _ in range(REPEATS + 1):
        wait()
        started = time.perf_counter()
        work()
        wait()
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:])
