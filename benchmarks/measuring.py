"""What the scripts share: how something is timed, and the line of JSON that says what was measured where."""

import functools
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sadetr.provenance import commit, system
from sadetr.training.devices import device_name

SEED = 2018
CPU = torch.device("cpu")


def milliseconds(function: Callable[[], object], device: torch.device = CPU) -> float:
    """Time of the clock that a call takes; a GPU is waited for before and after."""
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    wait()
    start = time.perf_counter()
    function()
    wait()
    return 1000 * (time.perf_counter() - start)


def spread(milliseconds: Sequence[float]) -> dict[str, float]:
    """Median, least and the range of the middle half."""
    low, middle, high = np.percentile(milliseconds, [25, 50, 75])
    values = {"median_ms": middle, "min_ms": min(milliseconds), "iqr_ms": high - low}
    return {name: round(float(value), 3) for name, value in values.items()}


def report(values: Mapping[str, Any], device: torch.device = CPU, command: str | None = None) -> None:
    """Print a line of JSON: which benchmark it is of, what was measured, and what that depends on beside the code.

    Args:
        values: what was measured.
        device: where.
        command: that gives such a line; by default the words that this script was started with.
    """
    script = Path(sys.argv[0])
    now = {
        "load_average": round(os.getloadavg()[0], 2),
        "command": command or " ".join([f"python benchmarks/{script.name}", *sys.argv[1:]]),
    }
    line = {"benchmark": script.stem, **values, **now, **environment(device)}
    # Standard output may be redirected, which keeps what trainings say out of it.
    print(json.dumps(line), file=sys.__stdout__, flush=True)


@functools.cache
def environment(device: torch.device) -> dict[str, Any]:
    """Hardware and versions, found once: a line in the midst of what is timed must cost nothing."""
    processor = platform.processor()
    information = Path("/proc/cpuinfo")
    if information.exists():
        names = [line.partition(": ")[2] for line in information.read_text().splitlines() if "model name" in line]
        processor = names[0] if names else processor
    hardware = {"device": device_name(device), "processor": processor, "cores": os.cpu_count()}
    return {**hardware, **system(), "commit": commit()}
