"""The tables on the page of the benchmarks hold the figures of recorded lines."""

import json
import re
from itertools import takewhile
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"
PAGE = (FOLDER / "README.md").read_text(encoding="utf-8")
NUMBER = re.compile(r"(?<![\w.])-?\d{1,3}(?:,\d{3})+(?:\.\d+)?|(?<![\w.,])-?\d+(?:\.\d+)?")
METHODS = {
    "2D-TAN (16 x 16)": "two_d_tan",
    "VSLNet": "vslnet",
    "Moment-DETR": "moment_detr",
    "UniVTG": "univtg",
    "MH-DETR": "mh_detr",
    "QD-DETR": "qd_detr",
    "EaTR": "eatr",
    "TR-DETR": "tr_detr",
    "CG-DETR": "cg_detr",
    "UVCOM": "uvcom",
    "BAM-DETR": "bam_detr",
}
SHOWN = ("sa_detr", "moment_detr", "qd_detr")
TIMED = (
    *("training_step", "batch", "matching", "evaluation", "saving", "memory", "dag_overhead", "feature_store"),
    *("full_size_training", "precision", "scorer", "simulated_curves"),
)
SLOWER = 1.36
"""By how much the machine was slower at our steps than at the authors'."""


def lines(script, **wanted):
    """Lines of a script whose values are those wanted, the oldest first."""
    text = (FOLDER / "results" / f"{script}.cpu.jsonl").read_text(encoding="utf-8")
    found = [json.loads(line) for line in text.splitlines()]
    return [line for line in found if wanted.items() <= line.items()]


def table(*heading):
    """Rows of the table with this heading, by their first cells."""
    start = f"| {' | '.join(heading)} |\n".replace("|  |", "| |")
    assert PAGE.count(start) == 1, heading
    below = PAGE.split(start)[1].splitlines()[1:]
    cells = [line.strip("| ").split(" | ") for line in takewhile(lambda line: line.startswith("|"), below)]
    return {first: rest for first, *rest in cells}


def check(texts, values):
    """Compare the numbers in ``texts`` with ``values``, rounded as they are."""
    shown = [number for text in texts for number in NUMBER.findall(re.sub("`[^`]*`", "", text))]
    decimals = [len(number.partition(".")[2]) for number in shown]
    assert shown == [f"{value:,.{places}f}" for value, places in zip(values, decimals, strict=True)]


def measured():
    """Values of each row of the first table, in their order."""
    steps, operations, memory = (
        [lines(script, method=method, **wanted)[-1] for method in SHOWN]
        for script, wanted in (
            ("training_step", {"measured": "step"}),
            ("training_step", {"measured": "operations"}),
            ("memory", {}),
        )
    )
    kept = [lines("memory", method=method)[-2] for method in SHOWN]
    batches = lines("batch", features="mapped", stored_as="float32")
    before, validation = lines("evaluation", queries=640)
    (first_before, first, second_before, second) = lines("saving")
    states, states_before = (first, second), (first_before, second_before)
    start = lines("dag_overhead")[-1]
    # Lines until commit 358f8c6 name a subcommand otherwise.
    starts = (start.get("subcommand") or start["command"], *map(start.get, ("training", "preloaded", "interpreter")))
    return [
        [
            *(line["median_ms"] for line in steps),
            *(line["flops"] / 1e9 for line in operations),
            *(line["bytes"] / 1e9 for line in operations),
            *(line["load_average"] for line in steps),
        ],
        [
            *(line["gather"]["median_ms"] for line in batches),
            *(line["transfer"]["median_ms"] for line in batches),
            *(line["copy_ms"] for line in batches),
            batches[0]["bytes"] / 1e6,
            *(line["load_average"] for line in batches),
        ],
        [
            validation["host_ms_per_query"],
            validation["own_cpu_ms_per_query"],
            before["own_cpu_ms_per_query"],
            validation["bytes_per_query"],
            validation["load_average"],
            before["load_average"],
        ],
        [
            *map(waited, states),
            *(line["write"]["median_ms"] for line in states),
            *map(waited, states_before),
            *(line["load_average"] for line in (*states, *states_before)),
        ],
        [
            *(line["mib"] for line in (*memory, *kept)),
            *(line["least_mib"] for line in memory),
            memory[0]["resident_mib"]["imported"],
            *(line["load_average"] for line in (*memory, *kept)),
        ],
        [
            *(times["median_ms"] / 1000 for times in starts),
            start["load_average"],
        ],
        [
            *(start[name]["median_ms"] / 1000 for name in ("first_plan", "plan")),
            *(start["cpu_ms"][name] / 1000 for name in ("first_plan", "plan")),
            start["load_average"],
        ],
    ]


def waited(line):
    """Milliseconds that a training waits for its state."""
    return line["copy"]["median_ms"] + line["hand_over"]["median_ms"]


def test_what_was_measured_is_in_the_lines():
    for texts, values in zip(table("what", "measured", "the least possible", "load").values(), measured(), strict=True):
        check(texts, values)


def test_steps_beside_the_authors_are_in_the_lines():
    rows = table("", "theirs", "ours", "theirs / ours", "the same, at equal speed of the machine")
    assert rows.keys() == METHODS.keys()
    for name, (theirs, *others) in rows.items():
        ours = lines("training_step", method=METHODS[name], measured="step")[-1]["median_ms"]
        ratio = float(NUMBER.findall(theirs)[0].replace(",", "")) / ours
        check(others, [ours, ratio, ratio * SLOWER])


def test_batches_by_the_place_of_their_features_are_in_the_lines():
    for dtype, texts in zip(("float32", "float16"), table("", "from the memory map", "resident").values(), strict=True):
        found = (lines("batch", features=features, stored_as=dtype) for features in ("mapped", "resident"))
        check(texts, [line["cpu"]["median_ms"] for each in found for line in each])


def test_matching_beside_the_loop_of_scipys_is_in_the_lines():
    rows = table("", "costs", "batched", "scipy's loop", "batched / loop")
    for name, texts in rows.items():
        line = lines("matching", method={**METHODS, "SA-DETR": "sa_detr", "EaTR's events": "eatr"}[name])[-1]
        batched, loop = line["batched"]["median"], line["scipy_loop"]["median"]
        check(texts, [*line["cost"], batched, loop, batched / loop])


def test_precisions_are_in_the_lines():
    (line,) = lines("precision")
    rows = table("", "float32", "bf16", "interval of the difference")
    assert {name.replace(" ", "_") for name in rows} == line["metrics"].keys()
    for name, texts in rows.items():
        values = line["metrics"][name.replace(" ", "_")]
        check(texts, [*values["float32"], *values["other"], *values["difference"]])


def test_dynamics_are_in_the_lines():
    rows = table("", "seeds, theirs / ours", "mAP, theirs", "mAP, ours", "difference, 95 %")
    assert rows.keys() <= METHODS.keys()
    for name, texts in rows.items():
        (line,) = lines("dynamics", method=METHODS[name])
        seeds, best = line["seeds"], line["best"]["mAP"]
        check(texts, [seeds["theirs"], seeds["ours"], *best["theirs"], *best["ours"], *best["difference"]])


@pytest.mark.parametrize("script", TIMED)
def test_the_last_line_says_where_it_comes_from(script):
    assert {"command", "device", "python", "torch", "numpy", "commit"} <= lines(script)[-1].keys()
