"""A profile as a table, and as plain values."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sadetr.columns import columns
from sadetr.profiling.limits import Limits
from sadetr.profiling.parts import Total

REST = "(rest)"


@dataclass(frozen=True)
class PartRow:
    """One part: totals with those of the parts in it, per step (in training), per batch (gathering) or per epoch."""

    path: str
    calls: float
    milliseconds: float
    flops: float
    moved: float
    of_limit: float | None
    """Least time on this device for so much work, over the time taken; None where no operators were counted."""

    def values(self) -> dict[str, Any]:
        """As JSON has it."""
        limit = None if self.of_limit is None else round(self.of_limit, 4)
        return {
            "part": self.path,
            "calls": self.calls,
            "ms": round(self.milliseconds, 4),
            "flops": self.flops,
            "bytes": self.moved,
            "of_limit": limit,
        }


def part_rows(timed: dict[str, Total], counted: dict[str, Total], limits: Limits, steps: int) -> list[PartRow]:
    """Rows in the order of a tree; a part's time outside the parts in it is a part of its own, ``(rest)``.

    Args:
        timed: totals of the pass that was timed.
        counted: totals of the pass whose operators were counted; timed is neither longer nor shorter.
        limits: of the device.
        steps: training steps of each pass: what is below ``training`` is given per step. Gathering beside it, of
            batches to train on and to validate on, is per batch.
    """
    rows = []
    for path in _tree(timed):
        inner = [other for other in timed if other.rpartition("/")[0] == path]
        total = timed[path]
        work = [each for other, each in counted.items() if f"{other}/".startswith(f"{path}/")]
        flops, moved = sum(each.flops for each in work), sum(each.moved for each in work)
        per = {"training": steps, "gathering": total.calls}.get(path.split("/")[0], 1)
        rows.append(_row(path, total.calls / per, total.seconds / per, flops / per, moved / per, limits))
        if inner:
            own = counted.get(path, Total())
            seconds = total.seconds - sum(timed[other].seconds for other in inner)
            rows.append(_row(f"{path}/{REST}", 0, seconds / per, own.flops / per, own.moved / per, limits))
    return sorted(rows, key=lambda row: _place(row.path, [each.path for each in rows]))


def _row(path: str, calls: float, seconds: float, flops: float, moved: float, limits: Limits) -> PartRow:
    counted = seconds > 0 and (flops or moved)
    share = limits.least_seconds(flops, moved) / seconds if counted else None
    return PartRow(path, calls, 1000 * seconds, flops, moved, share)


def _tree(totals: dict[str, Total]) -> list[str]:
    """Paths of parts that were called, every one behind the one that it is in."""
    paths = [path for path, total in totals.items() if total.calls]
    return sorted(paths, key=lambda path: _place(path, paths))


def _place(path: str, paths: list[str]) -> list[tuple[bool, int]]:
    """Sorting key: parts in the order of their first call, the rest of a part last."""
    names = path.split("/")
    above = ["/".join(names[: length + 1]) for length in range(len(names))]
    return [(each.endswith(REST), paths.index(each)) for each in above]


def table(rows: list[PartRow]) -> Iterator[str]:
    """Lines of text."""
    whole = {row.path: row.milliseconds for row in rows}
    cells = [["part", "calls", "ms", "share", "GFLOP", "MB", "GFLOP/s", "GB/s", "of limit"]]
    for row in rows:
        root = row.path.split("/")[0]
        seconds = row.milliseconds / 1000
        rates = [f"{row.flops / seconds / 1e9:,.1f}", f"{row.moved / seconds / 1e9:,.1f}"] if row.of_limit else ["", ""]
        cells.append(
            [
                "  " * row.path.count("/") + row.path.rpartition("/")[2],
                f"{row.calls:g}" if row.calls else "",
                f"{row.milliseconds:,.2f}",
                f"{row.milliseconds / whole[root]:.1%}",
                f"{row.flops / 1e9:,.3f}" if row.flops else "",
                f"{row.moved / 1e6:,.1f}" if row.moved else "",
                *rates,
                "" if row.of_limit is None else f"{row.of_limit:.0%}",
            ]
        )
    yield from columns(cells)
