"""A forecast is its lines times what there is to do, and says where it has none."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sadetr.configuration import choose_seeds, load_scale
from sadetr.errors import DataError, SettingsError
from sadetr.experiments import RunId, experiment_names, load_experiment
from sadetr.forecast.corpora import measure_corpus
from sadetr.forecast.lines import RECORDED, Line, Recorded
from sadetr.forecast.report import report
from sadetr.forecast.summary import Forecast, make_forecast
from sadetr.forecast.trainings import Basis, Estimator, plan_network, plan_training
from sadetr.layout import Layout

GPU = "NVIDIA A GPU"
BATCH = {"batch": [32, 75, 2818]}


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    """A folder with lines of SA-DETR on a GPU."""
    step = {"benchmark": "training_step", "method": "sa_detr", "variant": "full", "device": GPU}
    rows = [
        {**step, "measured": "parameters", "total": 1000},
        {**step, "measured": "forward", "median_ms": 3.0, **BATCH},
        {**step, "measured": "step", "median_ms": 10.0, **BATCH},
        {**step, "measured": "peak_memory", "mib": 1500.0, **BATCH},
        {"benchmark": "batch_composition", "setting": "qvhighlights", "bucket_batches": 1, "padded_clips": 75.0},
    ]
    folder = tmp_path / "lines"
    folder.mkdir()
    (folder / "training_step.cuda.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def layout(scale: str, seeds: str | None = None, **places: Path) -> Layout:
    return Layout(choose_seeds(load_scale(scale), seeds), **places)


def text(forecast: Forecast) -> str:
    return "\n".join(report(forecast, "all", "paper"))


def test_hours_memory_and_disk_by_hand(lines: Path, tmp_path: Path) -> None:
    forecast = make_forecast(layout("paper", results=tmp_path), [lines], ["table5"])
    # 7,218 queries are 226 batches of 32; 1,550 of the split `val` are 49, in every epoch, and twice more at the end.
    val, test = 49, 49
    splits = load_experiment("table5", "paper")
    assert {run.setting for run in splits.runs} == {"qvhighlights"}
    one = plan_training(splits.runs[0], "paper", {"qvhighlights": measure_corpus("qvhighlights", layout("paper"))})
    assert one.steps == 200 * 226
    predicted = {"val": val, "test": test}
    last = 2 * sum(predicted[split] for split in one.settings.dataset.report_splits)
    assert one.forward_batches() == 200 * val + last
    seconds = (one.steps * 10.0 + one.forward_batches() * 3.0) / 1000
    assert forecast.devices == (GPU,)
    assert forecast.total.seconds[GPU].value == pytest.approx(3 * seconds)
    assert forecast.memory == {GPU: {"sa_detr": 1500.0}}
    assert forecast.kept.value == 3 * 2 * 4 * 1000
    assert "variants without a line of their own: as `full` of their method" in forecast.basis.assumed


def test_features_on_a_gpu_come_on_top(lines: Path, tmp_path: Path) -> None:
    forecast = make_forecast(layout("paper", results=tmp_path), [RECORDED, lines], ["table5"])
    said = [line for line in text(forecast).splitlines() if "MiB of the GPU for features" in line]
    number = forecast.devices.index(GPU) + 1
    size = f"{forecast.stores['qvhighlights'] / 2**20:,.0f}"
    assert said == [
        f"memory [{number}]: and up to {size} MiB of the GPU for features (qvhighlights), where they fit "
        "(docs/placement.md)"
    ]


def test_shared_runs_count_once(lines: Path) -> None:
    forecast = make_forecast(layout("paper"), [lines])
    chosen = [load_experiment(name, "paper") for name in experiment_names()]
    assert forecast.runs == len({run for each in chosen if each.part_of_all for run in each.runs})
    for parts in (forecast.methods, forecast.experiments):
        assert sum(part.new for part in parts) == forecast.total.new == forecast.runs
        assert sum(part.steps for part in parts) == forecast.total.steps
        seconds = [part.seconds[GPU].value for part in parts]
        assert sum(seconds) == pytest.approx(forecast.total.seconds[GPU].value)


def test_seeds_multiply(lines: Path) -> None:
    once = make_forecast(layout("paper", "0"), [lines], ["table4"]).total
    five = make_forecast(layout("paper", "0,1,2,3,4"), [lines], ["table4"]).total
    assert five.runs == 5 * once.runs
    assert five.seconds[GPU].value == pytest.approx(5 * once.seconds[GPU].value)


def test_what_has_no_line_has_no_figure(lines: Path) -> None:
    """Other methods are counted as missing, and the total as a bound; a device without lines is none."""
    total = make_forecast(layout("paper"), [lines]).total.seconds[GPU]
    assert total.known
    assert total.unknown
    words = text(make_forecast(layout("paper"), [lines]))
    assert f"{total.unknown} runs have no recorded line" in words
    assert "GPU: no recorded line" not in words
    (lines / "training_step.cuda.jsonl").write_text("")
    empty = make_forecast(layout("paper"), [lines], ["table4"])
    assert not empty.devices
    assert "hours: no recorded line" in text(empty)
    assert "GPU: no recorded line, so no figure" in text(empty)


def test_gpu_lines_are_read_as_soon_as_they_are_there(lines: Path) -> None:
    before, after = (make_forecast(layout("paper"), folders) for folders in ([RECORDED], [RECORDED, lines]))
    assert after.devices == (*before.devices, GPU)
    assert ("GPU: no recorded line" in text(before)) == all(name.startswith("cpu") for name in before.devices)
    assert "training_step.cuda.jsonl (1-5)" in text(make_forecast(layout("paper"), [lines], ["table5"]))


def test_lines_of_another_size_are_not_used(lines: Path) -> None:
    """The narrow networks of the default scale have no line: finished runs of that scale are what counts."""
    found = make_forecast(layout("mini", results=lines), [lines])
    assert GPU not in found.devices
    assert all(part.seconds[device].known for part in found.methods for device in found.devices)


def test_finished_runs_count_before_steps(lines: Path, tmp_path: Path) -> None:
    run = RunId("qvhighlights", "sa_detr", "full", 2018)
    columns = {name: [getattr(run, name)] * 2 for name in ("setting", "method", "variant", "seed")}
    folder = tmp_path / "paper"
    folder.mkdir()
    table = pa.table({**columns, "device": [GPU] * 2, "train_seconds": [77.0] * 2})
    pq.write_table(table, folder / "metrics.parquet")
    place = layout("paper", results=tmp_path)
    assert run in load_experiment("table4", place.scale).runs
    with_run = make_forecast(place, [lines], ["table4"]).total.seconds[GPU].value
    without = make_forecast(layout("paper", results=lines), [lines], ["table4"]).total.seconds[GPU].value
    rows = len(load_experiment("table4", place.scale).runs)
    assert with_run == pytest.approx(77 + without * (rows - 1) / rows)


def test_memory_grows_with_batches_but_for_what_a_process_holds_anyway() -> None:
    network = plan_network(RunId("tacos", "moment_detr", "full", 2018), "paper")
    size = network.settings.training.batch_size
    line = {"benchmark": "memory", "method": "moment_detr", "variant": "full", "batch": [size, 75, 2818]}
    held = {"resident_mib": {"imported": 300.0, "network": 330.0, "step": 800.0}}
    rows = [
        {**line, **held, "device": "cpu (x)", "mib": 800.0},
        {**line, **held, "device": GPU, "mib": 500.0},
        {**line, "device": "cpu (y)", "mib": 800.0},
        {"benchmark": "batch_composition", "setting": "tacos", "bucket_batches": 1, "padded_clips": 150.0},
    ]
    recorded = Recorded(Line("lines", number, values) for number, values in enumerate(rows))
    estimator = Estimator(recorded, Basis())
    assert estimator.memory(network, "cpu (x)") == 300 + 2 * 500
    assert estimator.memory(network, GPU) == 2 * 500
    # Where a line does not say.
    assert estimator.memory(network, "cpu (y)") == 2 * 800


def test_memory_and_predictions_have_benchmarks_of_their_own(lines: Path, tmp_path: Path) -> None:
    before = make_forecast(layout("paper", results=tmp_path), [lines], ["table5"])
    added = [
        {"benchmark": "memory", "method": "sa_detr", "variant": "full", "device": GPU, "mib": 1700.0, **BATCH},
        {"benchmark": "evaluation", "device": GPU, "host_ms_per_query": 2.0, "bytes_per_query": 500.0},
    ]
    (lines / "more.jsonl").write_text("".join(json.dumps(row) + "\n" for row in added))
    after = make_forecast(layout("paper", results=tmp_path), [lines], ["table5"])
    assert after.memory == {GPU: {"sa_detr": 1700.0}}
    # Three runs: 200 validations and two kept files, of 1,550 queries each, were the reported split `val` alone.
    reported = load_experiment("table5", "paper").runs[0]
    splits = plan_training(reported, "paper", {"qvhighlights": measure_corpus("qvhighlights", layout("paper"))})
    kept = splits.queries(splits.kept_predictions)
    assert after.kept.value - before.kept.value == 3 * 500 * kept
    gained = after.total.seconds[GPU].value - before.total.seconds[GPU].value
    assert gained == pytest.approx(3 * (200 * 1550 + kept) * 2 / 1000)


@pytest.mark.parametrize("setting", ["qvhighlights", "charades_sta_vgg", "tacos_glove"])
def test_sizes_are_known_without_data(setting: str) -> None:
    corpus = measure_corpus(setting, layout("paper"))
    assert set(corpus.splits) == set(corpus.dataset.annotations)
    assert all(part.queries and part.clips and part.words for part in corpus.splits.values())


def test_size_of_a_store_is_that_of_the_recorded_one() -> None:
    """The full-size store of halves that `feature_store` was run on."""
    line = Recorded.read(RECORDED).find("feature_store", measured="open", queries=10310)
    values = measure_corpus("qvhighlights", layout("simulated")).stored_values
    assert 2 * values == pytest.approx(line["bytes"], rel=0.01)


def test_given_annotations_are_counted(shared) -> None:
    given = measure_corpus("qvhighlights", layout("paper", given_data_root=shared("annotations").parent))
    known = measure_corpus("qvhighlights", layout("paper"))
    assert given.counted_in != known.counted_in
    for split, part in given.splits.items():
        assert part.queries == known.splits[split].queries
        assert part.clips == pytest.approx(known.splits[split].clips, rel=0.01)


def test_errors_have_a_remedy(monkeypatch: pytest.MonkeyPatch, lines: Path) -> None:
    with pytest.raises(SettingsError, match="no experiment 'table77'; known: table1"):
        make_forecast(layout("paper"), [lines], ["table77"])
    monkeypatch.setattr("sadetr.forecast.corpora.load_sources", lambda setting: None)
    with pytest.raises(DataError, match=r"qvhighlights: nothing is known .* --data-root"):
        measure_corpus("qvhighlights", layout("paper"))
