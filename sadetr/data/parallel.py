"""Work on many files at once."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from os import cpu_count
from typing import TypeVar

from rich.console import Console
from rich.progress import track

_T = TypeVar("_T")
_R = TypeVar("_R")


def in_parallel(function: Callable[[_T], _R], items: Iterable[_T], noun: str) -> list[_R]:
    """Results in order, computed by threads; with a progress bar on a terminal."""
    items = list(items)
    console = Console(stderr=True)
    with ThreadPoolExecutor(max_workers=min(16, 2 * (cpu_count() or 1))) as pool:
        results: Iterable[_R] = pool.map(function, items)
        if console.is_terminal:
            results = track(results, description=f"checking {noun}", total=len(items), console=console, transient=True)
        return list(results)
