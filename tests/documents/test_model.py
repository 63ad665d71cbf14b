"""Headings over the columns of a table: each column has its own below those that it shares."""

import pytest

from sadetr.documents.model import Cell, Column, Row, Table


def table(*columns: Column, rows: tuple[tuple[str, ...], ...] = ()) -> Table:
    return Table("t", "Title", columns, tuple(Row(tuple(map(Cell, row))) for row in rows))


PLAIN = Column("a", left=True)
PAIR = Column("b", sides=("ours", "paper"))
GROUPED = Column("c", group="G", sides=("ours", "paper"))

LAYOUTS = {
    "one row": ((PLAIN, Column("x")), [["a", "x"]]),
    "sides": ((PLAIN, PAIR), [["a", "b"], ["a", "ours", "paper"]]),
    "groups": ((PLAIN, Column("x", group="G"), Column("y", group="G")), [["a", "G"], ["a", "x", "y"]]),
    "both": ((PLAIN, GROUPED, GROUPED), [["a", "G"], ["a", "c", "c"], ["a", *["ours", "paper"] * 2]]),
    "a group beside none": ((GROUPED, PAIR), [["G", "b"], ["c", "b"], ["ours", "paper"] * 2]),
    "words after numbers": ((GROUPED, PLAIN), [["G", "a"], ["c", "a"], ["ours", "paper", "a"]]),
    "two groups": ((GROUPED, Column("x", group="H")), [["G", "H"], ["c", "x"], ["ours", "paper", "x"]]),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_header_rows(name):
    columns, expected = LAYOUTS[name]
    header = table(*columns).header
    assert [[heading.text for heading in row] for row in header] == expected
    width = sum(len(column.sides) for column in columns)
    for place, row in enumerate(header):
        # Every row covers every place once.
        assert [at for each in row for at in range(each.start, each.start + each.columns)] == list(range(width))
        assert all(each.top <= place <= each.bottom for each in row)
    assert [heading.columns for heading in header[-1]] == [1] * width


def test_cells_of_a_column_are_together():
    made = table(PLAIN, PAIR, PAIR, rows=(("r", "1", "2", "3", "4"),))
    assert [[cell.text for cell in cells] for cells in made.by_column(made.rows[0])] == [["r"], ["1", "2"], ["3", "4"]]
    assert made.sides == ("ours", "paper")
    assert table(PLAIN).sides == ()


@pytest.mark.parametrize(
    ("text", "symbol"),
    [("λ_A", ("λ", "A")), ("N_q", ("N", "q")), ("L_vtc", ("L", "vtc")), ("video_features", None), ("a_b_c", None)],
)
def test_symbols_are_a_letter_with_a_subscript(text, symbol):
    ((heading,),) = table(Column(text)).header
    assert heading.symbol == symbol


def test_wide_tables_are_set_in_small_type_and_turned():
    sizes = []
    for columns in (3, 12, 25):
        made = table(*[Column("heading")] * columns, rows=(("12.34 ± 5",) * columns,))
        sizes.append((made.dense, made.sideways))
    assert sizes == [(False, False), (True, False), (True, True)]
    made = table(Column("words"), PLAIN, rows=(("word " * 30, "1"),))
    assert [long for _, long in made.places] == [True, False]
    assert not made.dense


def test_the_rows_of_a_long_table_are_laid_out_in_portions():
    for columns, rows, sizes in ((1, 0, [0]), (1, 55, [55]), (1, 56, [55, 1]), (25, 80, [35, 35, 10])):
        made = table(*[Column("heading")] * columns, rows=(("12.34",) * columns,) * rows)
        assert [len(sheet) for sheet in made.sheets] == sizes
