"""Other seeds than the paper's, for every row."""

import pytest

from sadetr.cli.inspection import runs as print_runs
from sadetr.commandline import check_config
from sadetr.configuration import choose_seeds, load_scale, seeds_text
from sadetr.errors import SettingsError
from sadetr.experiments import experiment_names, load_experiment
from sadetr.workflow import Workflow

KEEPING = {"table9", "table12", "figure4", "figure5", "sensitivity", "sensitivity_charades_sta_vgg"}
"""Tables about seeds and settings, and figures of single runs."""


@pytest.mark.parametrize("name", experiment_names())
def test_every_row_is_trained_with_the_chosen_seeds(name):
    scale = load_scale("mini")
    papers, chosen = load_experiment(name, scale), load_experiment(name, choose_seeds(scale, "7,0,1"))
    if name in KEEPING:
        assert chosen == papers
        return
    for before, after in zip(papers.rows, chosen.rows, strict=True):
        assert [run.seed for run in after.runs] == ([7, 0, 1] if before.runs else [])
        assert {run.variant for run in after.runs} == {run.variant for run in before.runs}


def test_text_and_back():
    scale = load_scale("mini")
    assert choose_seeds(scale, None) is scale
    assert seeds_text(choose_seeds(scale, "0,1,2,3,2018")) == "0,1,2,3,2018"
    assert choose_seeds(choose_seeds(scale, "3"), "paper") == scale
    assert seeds_text(scale) == "paper"


@pytest.mark.parametrize("text", ["", "1,1", "1,01", "a", "1;2", "-1", "1.5"])
def test_seeds_that_are_none(text):
    with pytest.raises(SettingsError, match=f"seeds '{text}': expected 'paper' or different whole numbers"):
        choose_seeds(load_scale("mini"), text)


def test_a_scale_may_have_seeds_of_its_own(tmp_path):
    path = tmp_path / "many.yaml"
    path.write_text("extends: mini\nlabel: more seeds\ndata: generated\nseeds: [4, 5]\n")
    runs = load_experiment("table4", str(path)).rows[0].runs
    assert [run.seed for run in runs] == [4, 5]
    path.with_name("twice.yaml").write_text("extends: mini\nlabel: x\ndata: generated\nseeds: [4, 4]\n")
    with pytest.raises(SettingsError, match=r"key 'seeds'.*once"):
        load_scale(str(path.with_name("twice.yaml")))


@pytest.mark.parametrize(("value", "text"), [("0,1", "0,1"), (2018, "2018"), ([0, 1], "0,1")])
def test_the_workflow_plans_them_as_snakemake_reads_them(value, text):
    flow = Workflow({"seeds": value})
    assert len(flow.experiments["table4"].runs) == 10 * len(text.split(","))
    assert (
        flow.command(["python"], "table", ["scale", "seeds"]) == f"python -m sadetr table --scale mini --seeds {text}"
    )


def test_a_single_seed_is_a_number_to_snakemake_and_that_is_fine():
    check_config(["--config", "seeds=2018"], {"seeds": 2018})
    with pytest.raises(SettingsError, match="reads this as 2018"):
        check_config(["--config", "results=2018"], {"results": 2018})


def test_the_number_of_runs_is_known_before_anything_starts(capsys):
    print_runs(table="4", seeds="0,1")
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "table4: 20 distinct runs with seeds=0,1, +10 beside the 10 with the paper's seeds"
    print_runs()
    assert capsys.readouterr().out.splitlines()[-1].startswith("all: 72 distinct runs with seeds=paper")
