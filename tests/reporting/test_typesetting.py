"""One LaTeX document of all tables and figures: what is in it, and that it compiles."""

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from sadetr.configuration import load_scale
from sadetr.documents.model import Document, Table
from sadetr.documents.rendering import write_document
from sadetr.errors import ResultsError, SettingsError
from sadetr.experiments import experiment_names, load_experiment
from sadetr.reporting.command import figure_command, paper_command, table_command
from sadetr.reporting.typesetting import render_paper
from tests.documents.hostile import HOSTILE, one_table

from .conftest import GENERATED

TABLES = tuple(name for name in experiment_names() if load_experiment(name, "mini").kind == "table")


@pytest.fixture
def rendered(tmp_path, write_run):
    """Every table, and a figure, of a few runs: most cells say that there is none."""
    scale = load_scale("mini")
    for run in load_experiment("figure6", scale).runs:
        write_run(run, scale, {"mAP": 40.0})
    for name in TABLES:
        table_command(name, scale, tmp_path)
    figure_command("figure6", scale, tmp_path)
    return scale


def test_it_reads_the_files_beside_it(tmp_path, rendered):
    (path,) = paper_command(rendered, tmp_path, ["table4", "sensitivity", "figure6"])
    assert path == tmp_path / "mini/paper.tex"
    text = path.read_text()
    read = re.findall(r"\\(?:input|includegraphics\[[^]]*\])\{([^}]*)\}", text)
    assert read == ["tables/table4.tex", "tables/sensitivity.tex", "figures/figure6.pdf"]
    assert all((path.parent / name).exists() for name in read)
    assert rf"\textbf{{{GENERATED}}}" in text
    assert paper_command(rendered, tmp_path, ["table4", "sensitivity", "figure6"]) == [path]
    assert path.read_text() == text


def test_by_default_it_holds_what_all_makes(tmp_path):
    scale = load_scale("mini")
    names = [name for name in experiment_names() if load_experiment(name, scale).part_of_all]
    for name in names:
        experiment = load_experiment(name, scale)
        folder, suffix = {"table": ("tables", "tex"), "figure": ("figures", "pdf")}[experiment.kind]
        file = tmp_path / "mini" / folder / f"{name}.{suffix}"
        file.parent.mkdir(parents=True, exist_ok=True)
        with pytest.raises(ResultsError, match=rf"{file}: not there; make it with 'python -m sadetr"):
            paper_command(scale, tmp_path)
        file.write_text("")
    (path,) = paper_command(scale, tmp_path)
    assert all(f"/{name}." in path.read_text() for name in names)
    assert "sensitivity" not in path.read_text()


@pytest.mark.parametrize("name", ["50%", "a b", "a#b", "x}", "~"])
def test_a_name_that_latex_cannot_read_is_refused(experiment, generated, name):
    with pytest.raises(SettingsError, match="LaTeX cannot read"):
        render_paper([replace(experiment, name=name)], generated)


def test_names_may_have_letters_of_any_language(experiment, generated):
    assert r"\input{tables/küche_2.tex}" in render_paper([replace(experiment, name="küche_2")], generated)


@pytest.fixture
def compiled():
    """Compile ``paper.tex`` in a folder; returns the log and what the pages say, "" where nothing can read them."""
    if shutil.which("pdflatex") is None:
        pytest.skip("no pdflatex: install texlive-latex-recommended and texlive-latex-extra")
    found = subprocess.run(["kpsewhich", "adjustbox.sty", "rotating.sty"], capture_output=True, text=True, check=False)
    if len(found.stdout.split()) < 2:
        pytest.skip("pdflatex without adjustbox or rotating: install texlive-latex-recommended and texlive-latex-extra")

    def run(folder: Path) -> tuple[str, str]:
        options = ["-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape"]
        done = subprocess.run(
            ["pdflatex", *options, "paper.tex"], cwd=folder, capture_output=True, check=False, timeout=180
        )
        log = (folder / "paper.log").read_text(encoding="latin-1")
        assert done.returncode == 0, log[-3000:]
        if shutil.which("pdftotext") is None:
            return log, ""
        command = ["pdftotext", "paper.pdf", "-"]
        return log, subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout

    return run


def letters(text: str) -> str:
    """Letters and digits alone: TeX draws underscores, turns apostrophes and breaks lines."""
    return re.sub(r"[\W_]", "", text)


def test_all_tables_and_figures_compile(tmp_path, rendered, compiled):
    (path,) = paper_command(rendered, tmp_path, [*TABLES, "figure6"])
    log, text = compiled(path.parent)
    # Nothing sticks out of a page or is cut off by it.
    assert not re.search(r"Overfull|Float too large|undefined", log)
    if text:
        assert text.count(GENERATED) >= len(TABLES)
        shown = letters(text)
        for experiment in (load_experiment(name, rendered) for name in TABLES):
            assert letters(experiment.caption) in shown
            assert all(letters(label) in shown for row in experiment.rows for label in row.labels.values())
        assert "Figure 6: Number of noise groups" in text


def test_hostile_words_compile(tmp_path, generated, experiment, compiled):
    write_document(one_table(*HOSTILE, "中"), tmp_path / "tables", ("tex",))
    (tmp_path / "paper.tex").write_text(render_paper([replace(experiment, name="d")], generated), encoding="utf-8")
    _, text = compiled(tmp_path)
    if text:
        for expected in ("alert(1)</script>", "a|b", r"\input{x}", "100%", "*[x] & $y$", "[0] *", "{{ 7 * 7 }}"):
            assert text.count(expected) >= 4, expected


@pytest.mark.parametrize("width", [3, 16])
def test_a_long_table_goes_on_overleaf(tmp_path, generated, experiment, compiled, width):
    (table, *_) = one_table(*(f"row {place} {'x ' * width}" for place in range(120))).parts
    title = "Long table"
    footnotes = (("*", "the last note"),)
    columns = tuple(replace(column, sides=("a", "b")[: len(column.sides)]) for column in table.columns)
    long = Table("d", title, columns, table.rows, number=3, footnotes=footnotes)
    write_document(Document("d", long.caption, GENERATED, (long,)), tmp_path / "tables", ("tex",))
    (tmp_path / "paper.tex").write_text(render_paper([replace(experiment, name="d")], generated), encoding="utf-8")
    log, text = compiled(tmp_path)
    assert not re.search(r"Overfull|Float too large|multiply defined", log)
    if text:
        assert text.count(title) == len(long.sheets) > 2
        assert [f"row {place} " in text for place in range(120)] == [True] * 120
        assert text.count("the last note") == 1
