"""The paper's numbers: all of them, as printed, and errors that say where a file is wrong."""

from pathlib import Path

import pytest

from sadetr.configuration import load_scale
from sadetr.errors import SettingsError
from sadetr.experiments import experiment_names, load_experiment
from sadetr.reporting.paper import load_paper_table, load_tolerances

# The printed tables, typed apart from config/paper/.
PRINTED = {
    "table1": """
        row R1@0.5 R1@0.7 mAP@0.5 mAP@0.75 mAP HD_mAP HIT@1
        M-DETR 52.89 33.02 54.82 29.40 30.73 35.69 55.60
        UniVTG 58.86 40.86 57.60 35.59 35.47 38.20 60.69
        MH-DETR 60.05 42.28 60.75 38.13 38.38 38.22 60.51
        QD-DETR 62.40 44.98 62.52 39.88 39.86 38.94 62.40
        EaTR 61.36 45.79 61.86 41.91 41.74 37.15 58.65
        TR-DETR 64.66 48.96 63.98 43.73 42.62 39.91 63.42
        CG-DETR 65.43 48.38 64.51 42.77 42.86 40.33 66.21
        UVCOM 63.55 47.47 63.37 42.67 43.18 39.74 64.20
        BAM-DETR 62.71 48.64 64.57 46.33 45.36 - -
        SA-DETR 64.96 49.09 65.30 47.80 47.40 40.02 65.69""",
    "table4": """
        row R1@0.5 R1@0.7 mAP HD_mAP HIT@1
        a 62.39 46.77 40.71 39.33 62.13
        b 65.16 49.23 44.26 40.24 67.29
        c 63.74 50.32 45.39 39.42 62.90
        d 63.35 48.19 42.85 39.45 62.65
        e 65.03 48.39 43.69 39.50 62.39
        f 63.35 50.06 46.27 39.53 63.03
        g 63.87 50.13 45.96 39.63 64.13
        h 63.74 50.52 47.01 39.75 63.55
        i 65.29 51.35 47.54 40.59 66.32
        j 67.03 52.52 48.84 40.81 67.61""",
}


@pytest.mark.parametrize("name", PRINTED)
def test_every_printed_number_is_there(name: str) -> None:
    header, *rows = [line.split() for line in PRINTED[name].strip().splitlines()]
    expected = {
        (row[0], metric): None if cell == "-" else float(cell)
        for row in rows
        for metric, cell in zip(header[1:], row[1:], strict=True)
    }
    table = load_paper_table(name)
    assert {key: value.value for key, value in table.values.items()} == expected


@pytest.mark.parametrize(
    ("name", "row", "metric", "words"),
    [
        ("table1", "SA-DETR", "R1@0.5", "1/1542"),
        ("table1", "UniVTG", "HIT@1", "transposed"),
        ("table1", "EaTR", "mAP", "validation"),
        ("table1", "M-DETR", "mAP", "seeds"),
        ("table1", "QD-DETR", "mAP", "seeds"),
        ("table4", "j", "mAP", "five-seed mean"),
    ],
)
def test_doubtful_numbers_carry_a_note(name: str, row: str, metric: str, words: str) -> None:
    assert words in load_paper_table(name).get(row, metric).note


def test_shares_of_queries_are_possible_or_noted() -> None:
    """R1 and HIT@1 are k/N; a printed number that is none needs a note (N: 1542 test, 1550 val queries)."""
    for name, queries in (("table1", 1542), ("table4", 1550)):
        for value in load_paper_table(name).values.values():
            if value.value is None or not value.metric.startswith(("R1", "HIT")):
                continue
            near = round(value.value * queries / 100)
            possible = {f"{100 * k / queries:.2f}" for k in (near - 1, near, near + 1)}
            assert f"{value.value:.2f}" in possible or value.note, value


@pytest.mark.parametrize("name", [name for name in experiment_names() if name.startswith("table")])
def test_experiments_and_paper_agree(name: str) -> None:
    experiment, table = load_experiment(name, load_scale("mini")), load_paper_table(name)
    rows = [row for row in experiment.rows if row.paper is not None]
    assert {(row.paper, metric) for row in rows for metric in experiment.metrics} == set(table.values)
    tolerances = load_tolerances()
    for row in rows:
        for metric in experiment.metrics if row.runs else ():
            assert table.of(row, metric).split == experiment.split
            assert tolerances.of(row.runs[0].setting, metric) is not None


def test_tolerances_are_two_standard_deviations_of_table_12() -> None:
    tolerances = load_tolerances()
    assert [tolerances.of("qvhighlights", metric) for metric in ("R1@0.5", "R1@0.7", "mAP")] == [1.6, 1.6, 1.2]


@pytest.mark.parametrize(("setting", "queries"), [("charades_sta", 3720), ("charades_sta_vgg", 3720), ("tacos", 4001)])
def test_tolerances_of_other_benchmarks_shrink_with_the_number_of_queries(setting: str, queries: int) -> None:
    assert load_tolerances().of(setting, "R1@0.5") == round(1.6 * (1550 / queries) ** 0.5, 1)


def test_published_predictions_must_give_every_printed_digit() -> None:
    assert load_tolerances().rescored <= 0.005


HEADER = "row,metric,value,std,split,seeds,note\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("row,metric\n", "first line"),
        (HEADER + "a,mAP,fast,,val,1,\n", r"line 2: column 'value'"),
        (HEADER + "a,mAP,140,,val,1,\n", r"line 2: column 'value'"),
        (HEADER + "a,mAP,40,,val,0,\n", r"line 2: column 'seeds'"),
        (HEADER + "a,mAP,40,,val,1,\na,mAP,41,,val,1,\n", "line 3: a,mAP appears twice"),
        (HEADER + "a,mAP,40,,val,1,with, comma\n", "line 2: expected 7 cells"),
        (HEADER + "a,mAP\n", "line 2: expected 7 cells"),
    ],
)
def test_malformed_paper_table(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "table4.csv").write_text(text)
    with pytest.raises(SettingsError, match=words) as error:
        load_paper_table("table4", tmp_path)
    assert str(tmp_path / "table4.csv") in str(error.value)


def test_missing_files_and_cells(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"table4\.csv"):
        load_paper_table("table4", tmp_path)
    with pytest.raises(SettingsError, match="no row 'z'"):
        load_paper_table("table4").get("z", "mAP")
    with pytest.raises(SettingsError, match="no metric 'mIoU'"):
        load_paper_table("table4").get("a", "mIoU")


def test_malformed_tolerance(tmp_path: Path) -> None:
    for text, key in (
        ("mAP: -1\nrescored: 0.005\n", "mAP"),
        ("rescored: 0\n", "rescored"),
        ("mAP: 1.0\n", "rescored"),
        ("rescored: 0.005\nsettings: {tacos: {mIoU: high}}\n", "settings.tacos.mIoU"),
    ):
        (tmp_path / "tolerances.yaml").write_text(text)
        with pytest.raises(SettingsError, match=rf"tolerances\.yaml: key '{key}'"):
            load_tolerances(tmp_path)
