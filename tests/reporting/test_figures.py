"""Figure 5: its data, its words, and bytes that depend on the data alone."""

import pytest

from sadetr.errors import ResultsError
from sadetr.experiments import Experiment, Row
from sadetr.reporting.figures import convergence_data, convergence_figure, write_figure

from .conftest import GENERATED, run_id


@pytest.fixture
def curves() -> Experiment:
    return Experiment(
        name="figure5",
        kind="figure",
        number=5,
        layout="convergence",
        title="Convergence",
        split="val",
        checkpoint="best",
        metrics=("mAP",),
        label_columns=("Curve",),
        rows=(
            Row("full", {"Curve": "SA-DETR"}, (run_id("full", 0), run_id("full", 1)), "best", "full"),
            Row("plain", {"Curve": "SA-DETR w/o denoise"}, (run_id("plain"),), "best", "plain"),
        ),
        note="",
    )


@pytest.fixture
def both(write_run):
    def write(scale):
        write_run(run_id("full", 0), scale, {"mAP": 30.0}, [10.0, None, 30.0])
        write_run(run_id("full", 1), scale, {"mAP": 40.0}, [20.0, None, 40.0])
        write_run(run_id("plain"), scale, {"mAP": 20.0}, [5.0, None, 20.0])

    return write


def test_data_leaves_out_epochs_without_validation(generated, curves, results, both):
    both(generated)
    data = convergence_data(curves, results(generated))
    assert sorted(set(data["epoch"])) == [1, 3]
    assert data.groupby("curve")["mAP"].mean().to_dict() == {"SA-DETR": 25.0, "SA-DETR w/o denoise": 12.5}


def test_words_and_styles(generated, official, curves, results, both):
    both(generated)
    axes = convergence_figure(curves, generated, results(generated)).axes[0]
    assert axes.get_title() == GENERATED
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["SA-DETR", "SA-DETR w/o denoise", "best epoch"]
    lines = [line for line in axes.get_lines() if len(line.get_xdata()) == 2]
    assert [list(line.get_ydata()) for line in lines] == [[15.0, 35.0], [5.0, 20.0]]
    assert lines[0].is_dashed() != lines[1].is_dashed()
    assert lines[0].get_color() != lines[1].get_color()
    both(official)
    assert convergence_figure(curves, official, results(official)).axes[0].get_title() == ""


def test_missing_runs(generated, curves, results, write_run):
    with pytest.raises(ResultsError, match="no run of figure5 has a history"):
        convergence_figure(curves, generated, results(generated))
    write_run(run_id("plain"), generated, {"mAP": 20.0}, [5.0, 20.0])
    axes = convergence_figure(curves, generated, results(generated)).axes[0]
    assert axes.get_legend().get_texts()[0].get_text() == "SA-DETR (not run)"


def test_files_are_stable_and_without_dates(tmp_path, generated, curves, results, both):
    both(generated)
    for name in ("one", "two"):
        paths = write_figure(convergence_figure(curves, generated, results(generated)), tmp_path / name, "figure5")
        assert [path.name for path in paths] == ["figure5.pdf", "figure5.svg", "figure5.png"]
    for path in paths:
        content = path.read_bytes()
        assert content == (tmp_path / "one" / path.name).read_bytes()
        assert not any(word in content for word in (b"CreationDate", b"<dc:date>", b"Software"))
    assert len(list(tmp_path.glob("*/.*"))) == 0
