"""What jobs ask a cluster for follows from what was measured, and grows with what there is to do."""

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from sadetr.errors import SettingsError
from sadetr.layering import CONFIG, named_files
from sadetr.resources import Training, load_resources
from sadetr.workflow import Workflow

ROOT = Path(__file__).parents[1]
FIGURES = load_resources()
TRAINING = Training("sa_detr", "qvhighlights", steps=45_200, batch_size=32, gpu=False)


def lines(name: str) -> list[dict]:
    return [json.loads(line) for line in (ROOT / f"benchmarks/results/{name}.jsonl").read_text().splitlines()]


def seconds(training: Training) -> float:
    """What is asked for beside the start of a training, in seconds before the factor."""
    asked = 60 * FIGURES.training_request(training, generated=False).minutes / FIGURES.factors.time
    return asked - FIGURES.full_size.training.other_seconds


def test_every_rule_that_a_cluster_runs_has_figures():
    rules = {
        name
        for path in (ROOT / "workflow/rules").glob("*.smk")
        for name in re.findall(r'\*\*demand\("(\w+)"\)', path.read_text())
    }
    assert rules - {"train"} == FIGURES.generated.rules.keys() == FIGURES.full_size.rules.keys()
    assert "train" in rules


def test_every_method_has_a_step_time_at_full_size():
    assert set(FIGURES.full_size.training.step_seconds) == set(named_files("methods"))
    assert set(FIGURES.full_size.training.padded_clips) == set(named_files("settings"))


def test_time_is_in_proportion_to_the_steps_and_memory_does_not_depend_on_them():
    once, twice = (FIGURES.training_request(replace(TRAINING, steps=steps), False) for steps in (50_000, 100_000))
    assert seconds(replace(TRAINING, steps=100_000)) == pytest.approx(
        2 * seconds(replace(TRAINING, steps=50_000)), rel=0.01
    )
    assert once.mem_mb == twice.mem_mb
    step = FIGURES.full_size.training.step_seconds["sa_detr"]
    assert seconds(TRAINING) == pytest.approx(45_200 * step, rel=0.01)


def test_longer_videos_take_more_time_and_on_a_processor_more_memory():
    tacos = replace(TRAINING, setting="tacos")
    assert seconds(tacos) > 2 * seconds(TRAINING)
    assert FIGURES.training_request(tacos, False).mem_mb > FIGURES.training_request(TRAINING, False).mem_mb
    short = replace(TRAINING, batch_size=1)
    assert FIGURES.training_request(short, False) == FIGURES.training_request(TRAINING, False)


def test_a_gpu_takes_less_time_by_the_factor_that_is_assumed():
    assert seconds(replace(TRAINING, gpu=True)) == pytest.approx(
        seconds(TRAINING) / FIGURES.factors.gpu_speed_up, rel=0.02
    )


def test_what_was_not_measured_counts_as_the_most_that_was():
    unknown = replace(TRAINING, method="mine", setting="mine")
    known = [replace(TRAINING, method=name, setting="tacos") for name in named_files("methods")]
    assert FIGURES.training_request(unknown, False) == max(
        (FIGURES.training_request(each, False) for each in known), key=lambda request: request.minutes
    )


def test_no_request_is_smaller_than_the_least():
    request = FIGURES.training_request(replace(TRAINING, steps=0), generated=True)
    assert request.minutes >= FIGURES.least.seconds / 60
    assert request.mem_mb >= FIGURES.least.mem_mb


def test_an_unknown_key_is_named(tmp_path):
    content = yaml.safe_load((CONFIG / "resources.yaml").read_text())
    (tmp_path / "resources.yaml").write_text(yaml.safe_dump(content | {"fators": {}}))
    with pytest.raises(SettingsError, match="fators"):
        load_resources(tmp_path)


def test_trainings_at_the_default_scale_are_short(tmp_path):
    flow = Workflow({"results": str(tmp_path)})
    runs = {str(run) for experiment in flow.experiments.values() for run in experiment.runs}
    assert max(flow.request("train", run).minutes for run in runs) <= 60


def test_the_steps_of_a_full_size_training_are_counted_in_the_annotations(tmp_path):
    flow = Workflow({"scale": "paper", "data_root": str(tmp_path)})
    run = "qvhighlights/sa_detr/full/seed2018"
    nothing = flow.request("train", run)
    file = tmp_path / "annotations/qvhighlights/highlight_train_release.jsonl"
    file.parent.mkdir(parents=True)
    file.write_text("{}\n" * 7218)
    counted = Workflow({"scale": "paper", "data_root": str(tmp_path)}).request("train", run)
    steps = 200 * math.ceil(7218 / 32)
    assert counted == FIGURES.training_request(Training("sa_detr", "qvhighlights", steps, 32, gpu=True), False)
    assert counted.minutes > nothing.minutes


def recorded(scale: str) -> dict[str, tuple[float, float]]:
    """Rule -> most seconds and memory of all its measured jobs."""
    rows = lines(f"rule_resources.{scale}.cpu")
    rules = {row["rule"] for row in rows}
    return {
        rule: tuple(max(row[key] for row in rows if row["rule"] == rule) for key in ("max_s", "max_resident_mb"))
        for rule in rules
    }


@pytest.mark.parametrize(("size", "scale"), [("generated", "mini"), ("full_size", "simulated")])
def test_the_figures_of_rules_are_the_recorded_ones(size, scale):
    figures = getattr(FIGURES, size)
    for rule, (time, memory) in recorded(scale).items():
        if rule == "train":
            assert figures.training.mem_mb >= memory
        else:
            assert (figures.rules[rule].seconds, figures.rules[rule].mem_mb) == (math.ceil(time), math.ceil(memory)), (
                rule
            )


def test_the_step_times_are_the_recorded_ones():
    latest = {row["method"]: row for row in lines("training_step.cpu") if row["measured"] == "step"}
    figures = FIGURES.full_size.training
    assert figures.step_seconds == {name: round(row["median_ms"] / 1000, 2) for name, row in latest.items()}
    memory = [row["mib"] * 2**20 / 1e6 for row in lines("training_step.cpu") if row["measured"] == "resident_memory"]
    assert figures.mem_mb >= max(memory)


def test_the_padded_lengths_are_the_recorded_ones():
    plain = {row["setting"]: row["padded_clips"] for row in lines("batch_composition") if row["bucket_batches"] == 1}
    figures = FIGURES.full_size.training.padded_clips
    assert {name: figures[name] for name in plain} == plain
