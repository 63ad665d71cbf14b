"""Verdicts from one file alone."""

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sadetr.cli import main
from sadetr.configuration import choose_seeds, load_scale
from sadetr.reporting.metrics import SCHEMA
from sadetr.reporting.metrics_file import MetricsFile

from .conftest import metric_row
from .perfect import PerfectScores, compared

REFERENCE = Path("results/reference/mini/metrics.parquet")


def rows_at(seeds: str = "paper") -> list[dict]:
    """Every cell at the paper's number."""
    scale = choose_seeds(load_scale("paper"), seeds)
    return [
        metric_row(run, scale, metric, value, split=split, checkpoint=checkpoint)
        for run, values in PerfectScores(compared(scale)).runs.items()
        for (split, checkpoint, metric), value in values.items()
    ]


def write(rows: list[dict], path: Path, **metadata: str) -> Path:
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    pq.write_table(table.replace_schema_metadata({f"sadetr.{key}": text for key, text in metadata.items()}), path)
    return path


def compare(*words: object, capsys) -> tuple[int, str]:
    sys.argv = ["sadetr", "compare", *map(str, words)]
    with pytest.raises(SystemExit) as exit:
        main()
    captured = capsys.readouterr()
    return exit.value.code, captured.out + captured.err


@pytest.fixture(scope="module")
def perfect() -> list[dict]:
    return rows_at()


def test_perfect(tmp_path, perfect, capsys):
    path = write(perfect, tmp_path / "metrics.parquet")
    outputs = {kind: tmp_path / f"out.{kind}" for kind in ("markdown", "json", "junit", "html", "csv")}
    options = [word for kind, out in outputs.items() for word in (f"--{kind}", out)]
    code, text = compare(path, *options, capsys=capsys)
    assert code == 0, text
    assert "251 reached, 94 not reported" in text
    assert all(out.stat().st_size > 1000 for out in outputs.values())


def test_one_cell_lower_and_a_run_missing(tmp_path, perfect, capsys):
    lower = [
        {**row, "value": row["value"] - 5} if (row["variant"], row["metric"]) == ("fa", "mAP") else row
        for row in perfect
    ]
    code, text = compare(write(lower, tmp_path / "lower.parquet"), capsys=capsys)
    assert code == 1
    failing = [line.split() for line in text.splitlines() if "below" in line and line.split()[0] == "table4"]
    assert [line[:3] for line in failing] == [["table4", "b", "mAP"]]
    fewer = [row for row in perfect if row["variant"] != "fa"]
    code, text = compare(write(fewer, tmp_path / "fewer.parquet"), capsys=capsys)
    assert code == 2
    assert "missing: table4, row b: not run" in text


def test_five_seeds(tmp_path, capsys):
    path = write(rows_at("0,1,2,3,2018"), tmp_path / "five.parquet")
    code, text = compare(path, "--seeds", "0,1,2,3,2018", capsys=capsys)
    assert (code, "251 reached" in text) == (0, True)
    path = write(rows_at("0,1"), tmp_path / "two.parquet", seeds="0,1")
    assert compare(path, capsys=capsys)[0] == 0, "the file says which seeds it is of"
    assert compare(path, "--seeds", "paper", capsys=capsys)[0] == 2


def test_unusable_input(tmp_path, perfect, capsys):
    path = write(perfect, tmp_path / "metrics.parquet")
    truncated = tmp_path / "truncated.parquet"
    truncated.write_bytes(path.read_bytes()[:-100])
    twice = write(perfect + perfect[:1], tmp_path / "twice.parquet")
    mixed = write([{**perfect[0], "scale": "mini"}, *perfect], tmp_path / "mixed.parquet")
    elsewhere = write([{**row, "scale": "mine"} for row in perfect], tmp_path / "elsewhere.parquet")
    pretended = write([{**row, "data": "generated"} for row in perfect], tmp_path / "pretended.parquet")
    beyond = write([{**perfect[0], "value": 140.0}], tmp_path / "beyond.parquet")
    columns = pq.read_table(path).drop_columns(["split"])
    pq.write_table(columns, tmp_path / "columns.parquet")
    words = {
        truncated: "cannot be read as Parquet",
        twice: "repeats",
        mixed: "runs of one scale, found mini, paper",
        elsewhere: "name its file with --scale",
        pretended: "'paper' is of official data",
        beyond: "is no percentage",
        tmp_path / "columns.parquet": "split (missing)",
        tmp_path / "absent.parquet": "no such file",
    }
    for file, reason in words.items():
        code, text = compare(file, capsys=capsys)
        assert (code, text.startswith("error: ")) == (3, True), file
        assert reason in text
        assert str(file) in text
    assert compare(path, "--scale", "mini", capsys=capsys)[0] == 3
    assert compare(path, "--exact", capsys=capsys)[0] == 3


def test_another_program_may_have_written_the_columns(tmp_path, perfect):
    path = tmp_path / "pandas.parquet"
    table = pa.Table.from_pylist(perfect)
    kinds = [pa.field(f.name, pa.large_string() if f.type == pa.string() else f.type) for f in SCHEMA]
    pq.write_table(table.select(SCHEMA.names[::-1]).cast(pa.schema(kinds[::-1])), path)
    assert MetricsFile(path).runs.keys() == MetricsFile(write(perfect, tmp_path / "ours.parquet")).runs.keys()


def test_neither_torch_nor_run_folders_are_needed(tmp_path, perfect):
    path = write(perfect, tmp_path / "metrics.parquet")
    script = (
        "import sys; sys.modules.update(dict.fromkeys(('torch', 'pandas', 'matplotlib', 'seaborn', 'snakemake')))\n"
        f"sys.argv = ['sadetr', 'compare', {str(path)!r}]\nfrom sadetr.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_reference_agrees_with_itself(capsys):
    code, text = compare(REFERENCE, "--reference", REFERENCE, "--exact", capsys=capsys)
    assert (code, "All numbers are equal" in text) == (0, True)
    code, text = compare(REFERENCE, capsys=capsys)
    assert (code, "generated data" in text) == (0, True)


def test_another_platform_may_differ_by_what_another_seed_does(tmp_path, capsys):
    table = pq.read_table(REFERENCE)
    values = table["value"].to_pylist()
    metrics = table["metric"].to_pylist()

    def altered(change) -> Path:
        changed = [
            None if v is None else min(max(change(v, m), 0.0), 100.0) for v, m in zip(values, metrics, strict=True)
        ]
        column = table.schema.get_field_index("value")
        path = tmp_path / "altered.parquet"
        pq.write_table(table.set_column(column, SCHEMA.field("value"), pa.array(changed)), path)
        return path

    slightly = altered(lambda value, metric: value + 0.5)
    assert compare(slightly, "--reference", REFERENCE, capsys=capsys)[0] == 0
    assert compare(slightly, "--reference", REFERENCE, "--exact", capsys=capsys)[0] == 1
    worse = altered(lambda value, metric: value - 12 if metric == "mIoU" else value)
    code, text = compare(worse, "--reference", REFERENCE, capsys=capsys)
    assert (code, "beyond what another platform explains: mIoU" in text) == (1, True)
    fewer = table.filter(pa.compute.not_equal(table["method"], "uvcom"))
    pq.write_table(fewer, tmp_path / "fewer.parquet")
    code, text = compare(tmp_path / "fewer.parquet", "--reference", REFERENCE, capsys=capsys)
    assert (code, "missing here: qvhighlights/uvcom/full/seed2018" in text) == (2, True)
    assert compare(REFERENCE, "--reference", tmp_path / "none.parquet", capsys=capsys)[0] == 3
