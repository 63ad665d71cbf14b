"""Tables for a terminal: columns of plain text."""

from collections.abc import Sequence


def columns(rows: Sequence[Sequence[str]], left: int = 1) -> list[str]:
    """Lines in which the columns of ``rows`` stand below each other.

    Args:
        rows: cells, the header's first; all rows are of one length.
        left: columns that are aligned to the left, from the first; all others are to the right.
    """
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if place < left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
