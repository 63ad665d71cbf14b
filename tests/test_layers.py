"""The order of the layers, pair by pair, and errors in what families, scales and methods say to each other."""

import csv
import itertools
from pathlib import Path
from typing import Any

import pytest
import yaml

from sadetr import layering
from sadetr.configuration import load_method, load_scale, resolve, resolve_origins
from sadetr.errors import SettingsError
from sadetr.layering import CONFIG, named_files
from sadetr.settings import Record, TrainingSettings


class Loss(Record):
    weight: int = 0


class Shared(Record):
    """What the family of the tests has in common."""

    width: int = 0
    loss: Loss = Loss()


class Probe(Shared):
    depth: int = 0


Place = tuple[str, tuple[str, ...]]
"""A file below ``config/`` and a key in it."""
METHOD, BASE, OWN = "methods/probe.yaml", "scales/base.yaml", "scales/own.yaml"


def of_scale(file: str, name: str, section: str) -> list[Place]:
    """Where a scale and the method's answer to it change ``model`` or ``training``, in order."""
    keys = {
        "model": [("families", "probes"), ("methods", "probe")],
        "training": [("training",), ("method_training", "probe")],
    }
    parts = [(file, (*part, *key)) for part in ((), ("settings", "here")) for key in keys[section]]
    return [*parts, *((METHOD, ("scales", name, *part, section)) for part in ((), ("benchmarks", "here")))]


def order(section: str) -> list[Place]:
    """Every place that changes ``model`` or ``training`` of a run, the weakest first."""
    return [
        (METHOD, (section,)),
        (METHOD, ("benchmarks", "here", section)),
        *of_scale(BASE, "base", section),
        *of_scale(OWN, "own", section),
        (METHOD, ("variants", "full", section)),
    ]


PAIRS = [(section, *pair) for section in ("model", "training") for pair in itertools.combinations(order(section), 2)]
DATASET: list[Place] = [("settings/here.yaml", ())] + [
    (file, (*part, "dataset")) for file in (BASE, OWN) for part in ((), ("settings", "here"))
]
"""The same of ``dataset``, which no method changes."""


def identified(value: Any) -> str:
    """A pair in the name of its test."""
    return value if isinstance(value, str) else f"{Path(value[0]).stem}:{'.'.join(value[1])}"


def configuration(folder: Path, *said: tuple[Place, dict[str, Any]]) -> Path:
    """A ``config/`` with one setting, family and method and two scales, in which each place of ``said`` says so."""
    files: dict[str, Any] = {
        "settings/here.yaml": {
            "title": "Here",
            "clip_length": 2.0,
            "annotations": {"train": "a", "val": "b"},
            "video_streams": [{"name": "clip", "directory": "clip", "width": 4}],
        },
        "families/probes.yaml": {"settings": f"{__name__}:Shared"},
        METHOD: {
            "title": "Probe",
            "network": "none:Nothing",
            "settings": f"{__name__}:Probe",
            "family": "probes",
            "variants": {"full": {}},
        },
        BASE: {"label": "base", "data": "official"},
        OWN: {"label": "own", "data": "official", "extends": "base"},
    }
    for (file, key), values in said:
        place = files[file]
        for part in key:
            place = place.setdefault(part, {})
        place |= values
    for file, content in files.items():
        path = folder / file
        path.parent.mkdir(exist_ok=True)
        path.write_text(yaml.safe_dump(content))
    return folder


def probe(config: Path, scale: str = "own"):
    return resolve("here", "probe", "full", 1, scale, config)


@pytest.mark.parametrize(("section", "weaker", "stronger"), PAIRS, ids=identified)
def test_of_two_layers_the_later_wins(tmp_path, section, weaker, stronger):
    key = {"model": "width", "training": "epochs"}[section]
    config = configuration(tmp_path, (weaker, {key: 11}), (stronger, {key: 22}))
    assert getattr(getattr(probe(config), section), key) == 22
    file, written = stronger
    assert resolve_origins("here", "probe", "full", "own", config).layer((section, key)) == (config / file, written)


@pytest.mark.parametrize(("weaker", "stronger"), [*itertools.combinations(DATASET, 2)], ids=identified)
def test_a_scale_changes_the_record_of_a_setting(tmp_path, weaker, stronger):
    config = configuration(tmp_path, (weaker, {"max_windows": 11}), (stronger, {"max_windows": 22}))
    assert probe(config).dataset.max_windows == 22


@pytest.mark.parametrize("section", ["model", "training"])
def test_every_layer_changes_the_types_default_and_nothing_else(tmp_path, section):
    key = {"model": "width", "training": "epochs"}[section]
    default = probe(configuration(tmp_path))
    assert (default.model, default.training) == (Probe(), TrainingSettings())
    for number, place in enumerate(order(section)):
        (tmp_path / str(number)).mkdir()
        changed = probe(configuration(tmp_path / str(number), (place, {key: 5})))
        expected = getattr(default, section).model_copy(update={key: 5})
        assert changed == default.model_copy(update={section: expected}), place


def test_layers_are_laid_over_each_other_key_by_key(tmp_path):
    said = [(place, {"width": 1 + number}) for number, place in enumerate(order("model")[:2])]
    config = configuration(
        tmp_path, *said, ((METHOD, ("model", "loss")), {"weight": 7}), ((BASE, ("families", "probes")), {"loss": {}})
    )
    assert probe(config).model == Probe(width=2, loss=Loss(weight=7))


def test_a_method_answers_to_the_scale_of_that_name_and_to_those_that_extend_it(tmp_path):
    place = (METHOD, ("scales", "base", "training"))
    config = configuration(tmp_path, (place, {"epochs": 5}), ((METHOD, ("scales", "own", "model")), {"depth": 3}))
    assert [probe(config, scale).training.epochs for scale in ("base", "own")] == [5, 5]
    assert [probe(config, scale).model.depth for scale in ("base", "own")] == [0, 3]
    # A user's file is not the scale whose name it happens to have.
    mine = tmp_path / "base.yaml"
    mine.write_text("label: mine\ndata: official\n")
    assert probe(config, str(mine)).training == TrainingSettings()


@pytest.mark.parametrize(
    ("file", "key", "values", "words"),
    [
        (BASE, ("families", "probs"), {}, "unknown key 'families.probs'.* the nearest valid key is 'families.probes'"),
        (BASE, ("families", "probes"), {"widht": 3}, "unknown key 'families.probes.widht'.*'families.probes.width'"),
        # The method has such a setting, its family has not.
        (BASE, ("families", "probes"), {"depth": 3}, "unknown key 'families.probes.depth'"),
        (
            BASE,
            ("settings", "here", "families", "probes", "loss"),
            {"wieght": 3},
            r"unknown key 'settings\.here\.families\.probes\.loss\.wieght'.*\.loss\.weight'",
        ),
        (BASE, ("families", "probes"), {"width": "wide"}, "key 'families.probes.width'.*'wide'"),
        (BASE, ("settings", "hree"), {}, "unknown key 'settings.hree'.*'settings.here'"),
        (BASE, ("methods", "prob"), {}, "unknown key 'methods.prob'.*'methods.probe'"),
        (BASE, ("settings", "here", "method_training", "prob"), {}, r"'settings\.here\.method_training\.prob'"),
        (METHOD, (), {"family": "prob"}, "key 'family': unknown family 'prob'; known: probes"),
        (METHOD, ("benchmarks", "hree"), {}, "unknown key 'benchmarks.hree'.*'benchmarks.here'"),
        (METHOD, ("benchmarks", "here"), {"dataset": {}}, "unknown key 'benchmarks.here.dataset'"),
        (METHOD, ("benchmarks", "here", "training"), {"epoch": 3}, r"'benchmarks\.here\.training\.epochs'"),
        (METHOD, ("training",), {"epoch": 3}, r"unknown key 'training\.epoch'.*'training\.epochs'"),
        (METHOD, ("scales", "bas"), {}, "unknown key 'scales.bas'.*'scales.base'"),
        (METHOD, ("scales", "base", "benchmarks", "hree"), {}, r"'scales\.base\.benchmarks\.here'"),
        (METHOD, ("scales", "base", "benchmarks", "here", "model"), {"widht": 3}, r"here\.model\.width'"),
    ],
)
def test_errors_name_file_key_and_the_nearest_key(tmp_path, file, key, values, words):
    config = configuration(tmp_path, ((file, key), values))
    with pytest.raises(SettingsError, match=rf"{config / file}: .*{words}"):
        probe(config)


def test_a_fault_in_what_is_said_to_a_family_stops_runs_of_other_methods_too(tmp_path):
    config = configuration(tmp_path, ((BASE, ("families", "probes")), {"widht": 3}))
    with pytest.raises(SettingsError, match=r"families\.probes\.widht"):
        load_scale("base", config)


def test_a_method_of_a_family_has_its_settings(tmp_path):
    config = configuration(tmp_path, ((METHOD, ()), {"settings": f"{__name__}:Loss"}))
    with pytest.raises(SettingsError, match=rf"{config / METHOD}: settings: .*Loss' does not extend .*Shared'"):
        probe(config)


@pytest.mark.parametrize("reference", [f"{__name__}:Missing", "missing.module:Shared"])
def test_the_settings_of_a_family_can_be_imported(tmp_path, reference):
    config = configuration(tmp_path, (("families/probes.yaml", ()), {"settings": reference}))
    scale = config / BASE
    scale.write_text("label: base\ndata: official\nfamilies: {probes: {width: 3}}\n")
    with pytest.raises(SettingsError, match=r"families/probes\.yaml: settings: .* cannot be imported"):
        load_scale("base", config)


def test_an_extension_brings_families_and_methods_of_our_families(tmp_path, monkeypatch):
    package = tmp_path / "guest"
    files = {
        "guest/families/guests.yaml": "settings: guest.settings:Guests",
        "guest/methods/cousin.yaml": "family: detr\nsettings: guest.settings:Cousin\ntitle: C\nnetwork: none:Nothing\n"
        "scales: {mini: {training: {epochs: 2}, benchmarks: {tacos: {training: {epochs: 3}}}}}\nvariants: {full: {}}",
        "guest/methods/visitor.yaml": "family: guests\nsettings: guest.settings:Guests\ntitle: V\n"
        "network: none:Nothing\nvariants: {full: {}}",
        "guest/settings.py": "from sadetr.models.detr.settings import DetectionTransformerSettings as Shared\n"
        "from sadetr.settings import Record\nclass Cousin(Shared):\n    twigs: int = 1\n"
        "class Guests(Record):\n    nights: int = 1\n",
        "own.yaml": "extends: mini\nlabel: own\ndata: generated\nfamilies: {guests: {nights: 2}}\n",
        "guest/__init__.py": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(layering, "extension_folders", lambda: (package,))
    cousin = {setting: resolve(setting, "cousin", "full", 1, "mini") for setting in ("qvhighlights", "tacos")}
    moment_detr = resolve("qvhighlights", "moment_detr", "full", 1, "mini")
    assert cousin["qvhighlights"].model.hidden_width == moment_detr.model.hidden_width
    assert [settings.training.epochs for settings in cousin.values()] == [2, 3]
    assert resolve("tacos", "visitor", "full", 1, str(tmp_path / "own.yaml")).model.nights == 2


def speaks_of(scale: dict[str, Any]) -> dict[str, Any]:
    """Everything that a scale's file says, by the path of its key."""
    if not isinstance(scale, dict):
        return {"": scale}
    return {
        f"{key}.{rest}".rstrip("."): value for key, inner in scale.items() for rest, value in speaks_of(inner).items()
    }


@pytest.mark.parametrize("scale", named_files("scales"))
def test_our_scales_speak_to_families_and_to_sa_detr(scale):
    text = (CONFIG / "scales" / f"{scale}.yaml").read_text()
    for method in set(named_files("methods")) - {"sa_detr"}:
        assert method not in text
        assert load_method(method).title not in text


TABLE_9 = {
    "method_training.sa_detr": {"BS": "batch_size", "Epoch": "epochs", "LR": "learning_rate"},
    "methods.sa_detr": {
        "N_q": "num_moment_queries",
        "N_n": "dn.groups",
        "N_s": "enhance.samples",
        "α": "gauss.alpha",
        "σ_p": "dn.sigma_p",
        "λ_L1": "loss.l1",
        "λ_gIoU": "loss.giou",
        "w_q": "loss.matched_quality",
        "δ_q": "loss.quality_margin",
        "λ_A": "loss.align",
        "λ_S": "loss.saliency",
        "λ_M": "loss.moment",
        "λ_Q": "loss.quality",
    },
}
"""Column of Table 9 -> its key in the scale of the paper, below a setting's part."""


def test_the_papers_scale_is_table_9_alone():
    said = speaks_of(yaml.safe_load((CONFIG / "scales/paper.yaml").read_text()))
    assert (said.pop("label"), said.pop("data")) == ("", "official")
    with open(CONFIG / "paper/table9.csv", encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    for row in rows:
        for part, columns in TABLE_9.items():
            keys = {column: f"settings.{row['row']}.{part}.{key}" for column, key in columns.items()}
            assert {column: said.pop(key) for column, key in keys.items()} == {
                column: pytest.approx(float(row[column])) for column in keys
            }
        margin = said.pop(f"settings.{row['row']}.methods.sa_detr.dn.margin_start")
        assert float(row["σ_p"]) + margin == pytest.approx(float(row["σ_n"]))
    # What section 4.2 says of the learning rate, which has no column.
    assert said == {
        "settings.qvhighlights.method_training.sa_detr.schedule.hold_epochs": 40,
        **{
            f"settings.{row['row']}.method_training.sa_detr.schedule.shape": shape
            for row, shape in zip(rows, ("linear", "constant", "constant", "constant"), strict=True)
        },
    }
