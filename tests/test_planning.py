"""What a later step would refuse is refused when the work is planned, as far as the targets need it, in one message."""

from pathlib import Path

import pytest

from .test_content import EXPERIMENT, OwnData

pytestmark = pytest.mark.workflow
PRINTED = EXPERIMENT.replace(", paper: none", "")
HEADER = "row,metric,value,std,split,seeds,note\n"


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """A checkout with data of its own in which nothing has run."""
    return OwnData(tmp_path_factory.mktemp("fresh"))


@pytest.fixture
def own(fresh):
    """The checkout with data of its own; an experiment that a test changes is put back."""
    yield fresh
    (fresh.folder / "config/experiments/own.yaml").write_text(EXPERIMENT)
    (fresh.folder / "config/paper/own.csv").unlink(missing_ok=True)


DATA = ("data_root=DATA",)


@pytest.mark.parametrize(
    ("experiment", "numbers", "message"),
    [
        (PRINTED, None, "config/paper/own.csv: cannot be read"),
        (PRINTED, "full,R1@0.5,50,,val,1,\n", "config/paper/own.csv: row 'full' has no metric 'mAP'. Add the line"),
        (EXPERIMENT.replace("mAP", "map"), None, "config/experiments/own.yaml: row 'full': metric 'map', unknown; "),
        (
            EXPERIMENT.replace("split: val", "split: dev"),
            None,
            "setting 'own' is not scored on split 'dev', only on val",
        ),
    ],
)
def test_an_experiment_that_could_not_be_rendered(own, experiment, numbers, message):
    (own.folder / "config/experiments/own.yaml").write_text(experiment)
    if numbers is not None:
        (own.folder / "config/paper/own.csv").write_text(HEADER + numbers)
    assert message in own.refusal("own", config=DATA)


def test_a_split_of_unknown_size_matters_to_the_comparison_alone(own):
    (own.folder / "config/experiments/own.yaml").write_text(PRINTED.replace("mAP]", "mIoU]"))
    (own.folder / "config/paper/own.csv").write_text(HEADER + "full,R1@0.5,50,,val,1,\nfull,mIoU,50,,val,1,\n")
    assert own.planned("own", config=DATA)["train"] == 1
    for target in ("all", "compare"):
        refusal = own.refusal(target, config=DATA)
        assert (
            "tolerances.yaml: key 'queries' does not say how many queries split 'val' of setting 'own' has" in refusal
        )


@pytest.mark.parametrize("name", ["annotations/own/val.jsonl", "features/own/clip", "features/own/text"])
def test_data_that_are_missing(own, name):
    path, aside = own.folder / "DATA" / name, own.folder / "aside"
    path.rename(aside)
    message = own.refusal("own", config=DATA)
    assert message.startswith(
        f"error: DATA/{name}: is missing. `python -m sadetr download --setting own --data-root DATA`"
    )
    assert "`python -m sadetr check-data --setting own --data-root DATA --scale tiny.yaml`" in message
    # The check reports what is missing.
    planned = own.planned("check_data", config=DATA)
    assert planned == {"check": planned["check"], "check_data": 1}
    aside.rename(path)


def test_a_plan_is_that_of_the_code_that_lies_there(own):
    """Though dry runs of one folder share what was imported."""
    path, aside = own.folder / "DATA/features/own/clip", own.folder / "aside"
    path.rename(aside)
    assert "clip: is missing." in own.refusal("own", config=DATA)
    own.edit("sadetr/planning.py", "{missing[0]}: is missing", "{missing[0]}: is gone")
    assert "clip: is gone." in own.refusal("own", config=DATA)
    own.edit("sadetr/planning.py", "{missing[0]}: is gone", "{missing[0]}: is missing")
    assert "clip: is missing." in own.refusal("own", config=DATA)
    aside.rename(path)


def test_a_split_without_labels_is_refused_where_it_is_trained_on(own):
    file = own.folder / "DATA/annotations/own/train.jsonl"
    content = file.read_text()
    file.write_text(content.replace("relevant_windows", "windows"))
    assert "train.jsonl: no row has relevant_windows, so there is nothing to train on" in own.refusal(
        "own", config=DATA
    )
    file.write_text(content)


def test_a_checkpoint_that_could_not_be_selected(own):
    path = own.folder / "config/settings/own.yaml"
    text = path.read_text()
    path.write_text(text + 'selection: {metrics: ["R1@0.5", HD_mAP], split: val}\n')
    message = own.refusal("own", config=DATA)
    assert "config/settings/own.yaml: selection: metric 'HD_mAP' is not validated; known: R1@0.3, " in message
    done = own.sadetr("check-data", "--setting", "own", "--scale", "tiny.yaml", "--data-root", "DATA", "--quick")
    assert done.returncode == 1
    assert "selection: metric 'HD_mAP' is not validated" in " ".join(done.stdout.split())
    path.write_text(text)


def test_targets_need_their_own_data_only(own):
    other = EXPERIMENT.replace("setting: own", "setting: tacos").replace("split: val", "split: test")
    path = own.folder / "config/experiments/other.yaml"
    path.write_text(other)
    assert own.planned("own", config=DATA)["train"] == 1
    for target in ("other", "all"):
        assert own.refusal(target, config=DATA).startswith(
            "error: DATA/annotations/tacos/train.jsonl: is missing (so are "
        )
    path.unlink()


def test_published_predictions_need_the_annotations_of_their_split(own):
    published = own.folder / "DATA/released_predictions/own"
    published.mkdir(parents=True)
    (published / "others_val.jsonl").write_text("{}\n")
    target = str(Path("results/tiny/rescored/own.parquet"))
    assert own.planned(target, config=DATA) == {"rescore": 1}
    path, aside = own.folder / "DATA/annotations/own/val.jsonl", own.folder / "aside"
    path.rename(aside)
    assert own.refusal(target, config=DATA).startswith("error: DATA/annotations/own/val.jsonl: is missing.")
    aside.rename(path)
