"""A :class:`~sadetr.reporting.tables.MetricsTable` as a document: for people, and as records for programs."""

from sadetr.documents.model import Attributes, Cell, Column, Document, Row, Table
from sadetr.reporting.tables import CHECK, MetricsRow, MetricsTable, Number


def metrics_document(table: MetricsTable) -> Document:
    """The table as a document of one part."""
    part = metrics_part(table)
    return Document(table.name, part.caption, table.banner, (part,), metrics_records(table))


def metrics_part(table: MetricsTable) -> Table:
    """The table with our number beside the paper's; cells of ours say of which experiment, row and metric they are."""
    grouped = len({column.group for column in table.columns}) > 1
    names = (Column(heading, left=place == 0) for place, heading in enumerate(table.headings))
    numbers = (
        Column(column.heading, group=column.group if grouped else "", sides=table.sides) for column in table.columns
    )
    return Table(
        name=table.name,
        title=table.title,
        number=table.number,
        columns=(*names, *numbers),
        rows=tuple(_row(table, row) for row in table.rows),
        remarks=(" ".join(table.remarks),),
        footnotes=table.footnotes,
    )


def _row(table: MetricsTable, row: MetricsRow) -> Row:
    first, *others = table.names(row)
    place = (("experiment", table.name), ("row", row.key))
    names = (Cell(first, mark=row.mark), *map(Cell, others))
    numbers = (
        _number(number, side, (*place, ("metric", column.metric)) if side == "ours" else ())
        for column, cell in zip(table.columns, row.cells, strict=True)
        for side, number in zip(table.sides, cell.numbers(table.sides), strict=True)
    )
    return Row((*names, *numbers), place)


def _number(number: Number, side: str, data: Attributes) -> Cell:
    return Cell(number.text, role=side, strong=number.best, mark=number.mark, data=data)


def metrics_records(table: MetricsTable) -> tuple[tuple[str, ...], ...]:
    """A header and one line per row: two decimals, empty where there is no number, the reason in ``status``.

    Every metric has a column of ours and a ``_paper`` column, a ``_rescored`` column where any row is rescored, and
    ``_std`` columns where any row has a spread.
    """
    with_std = [
        side for side in table.sides if any(getattr(c, side).std is not None for row in table.rows for c in row.cells)
    ]
    header = ["row", *table.label_headings]
    for column in table.columns:
        for side in table.sides:
            name = column.metric if side == "ours" else f"{column.metric}_{side}"
            header += [name, *([f"{name}_std"] if side in with_std else [])]
    lines = [(*header, "status", "notes", "comparability")]
    for row in table.rows:
        line = [row.key, *("x" if label == CHECK else label for label in row.labels)]
        for cell in row.cells:
            for side, number in zip(table.sides, cell.numbers(table.sides), strict=True):
                line += [decimal(number.value), *([decimal(number.std)] if side in with_std else [])]
        lines.append((*line, row.status, _notes(table, row), table.banner or "comparable"))
    return tuple(lines)


def decimal(value: float | None) -> str:
    """Two decimals; empty where there is no number."""
    return "" if value is None else f"{value:.2f}"


def _notes(table: MetricsTable, row: MetricsRow) -> str:
    """The row's footnotes in full, each after the metrics that it is about."""
    notes = []
    for mark, text in table.footnotes:
        metrics = [c.metric for c, cell in zip(table.columns, row.cells, strict=True) if cell.paper.mark == mark]
        if metrics:
            notes.append(f"{', '.join(metrics)}: {text}")
        elif row.mark == mark:
            notes.append(text)
    return " ".join(notes)
