"""Layers of settings, and errors that help."""

import shutil
from pathlib import Path

import pytest
import yaml

from sadetr.configuration import load_method, resolve, resolve_corpus, resolve_dataset
from sadetr.errors import SettingsError
from sadetr.experiments import experiment_names, load_experiment, run_settings
from sadetr.layering import CONFIG, named_files
from sadetr.settings import WordVectors
from sadetr.training_settings import HardSuppression, LinearSuppression, ScoreRanking

SCALES = ("mini", "simulated", "paper")


def scale_file(folder: Path, text: str) -> str:
    path = folder / "own.yaml"
    path.write_text(f"extends: mini\nlabel: own\ndata: generated\n{text}\n")
    return str(path)


def full(scale: str):
    return resolve("qvhighlights", "sa_detr", "full", 2018, scale)


@pytest.mark.parametrize("scale", SCALES)
def test_every_run_of_every_experiment_resolves(scale):
    for name in experiment_names():
        for run in load_experiment(name, scale).runs:
            assert run_settings(run, scale).seed == run.seed


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("method", named_files("methods"))
def test_every_variant_of_every_method_resolves_on_every_setting(scale, method):
    for setting in named_files("settings"):
        for variant in load_method(method).variants:
            assert resolve(setting, method, variant, 2018, scale).variant == variant


def test_paper_scale_holds_table_9():
    settings = full("paper")
    training, model = settings.training, settings.model
    assert (training.batch_size, training.epochs, training.learning_rate) == (32, 200, 1e-4)
    assert (training.schedule.shape, training.schedule.hold_epochs) == ("linear", 40)
    assert (model.num_moment_queries, model.dn.groups, model.enhance.samples) == (10, 5, 10)
    assert (model.gauss.alpha, model.dn.sigma_p, model.dn.sigma_p + model.dn.margin_start) == (
        2,
        0.2,
        pytest.approx(0.6),
    )
    weights = model.loss
    assert (weights.l1, weights.giou, weights.matched_quality, weights.quality_margin) == (10, 1, 1, 0.4)
    assert (weights.align, weights.saliency, weights.moment, weights.quality) == (1, 1, 1, 1)
    assert settings.dataset.video_width == 2304 + 512


def test_a_later_layer_wins_key_by_key(tmp_path):
    own = full(scale_file(tmp_path, "settings: {qvhighlights: {training: {epochs: 3}}}"))
    mini = full("mini")
    assert own.training.epochs == 3
    assert own.training.model_copy(update={"epochs": mini.training.epochs}) == mini.training


@pytest.mark.parametrize(
    ("text", "fragments"),
    [
        ("training: {epoch: 3}", ["'training.epoch'", "'training.epochs'"]),
        ("trainings: {}", ["'trainings'", "'training'"]),
        ("methods: {sa_detr: {dn: {group: 3}}}", ["'methods.sa_detr.dn.group'", "'methods.sa_detr.dn.groups'"]),
        ("methods: {sa_detr: {gauss: {mode: addlog}}}", ["'methods.sa_detr.gauss.mode'", "add_log"]),
        (
            "settings: {qvhighlights: {methods: {sa_detr: {dn: {group: 3}}}}}",
            ["'settings.qvhighlights.methods.sa_detr.dn.group'", "dn.groups'"],
        ),
        ("training: {epochs: ten}", ["'training.epochs'", "integer", "'ten'"]),
        ("training: {learning_rate: 1e-4}", ["'training.learning_rate'", "1.0e-4"]),
        ("training: {epochs: 0}", ["'training.epochs'", "greater than 0"]),
        ("methods: {sa_detr: {hidden_width: 50}}", ["multiple of"]),
        ("methods: {sa_detr: {qi: {dynamic: false}}}", ["init_loss"]),
        ("settings: {qvhighlights: {dataset: {report_splits: [dev]}}}", ["'dev'", "train, val, test"]),
        ("corpus: {clips: many}", ["'corpus.clips'", "'many'"]),
        ("settings: {tacos: {corpus: {clip: 3}}}", ["'settings.tacos.corpus.clip'", "'settings.tacos.corpus.clips'"]),
        ("dataset: {text_stream: {widht: 3}}", ["key 'dataset.text_stream.widht'", "'dataset.text_stream.width'"]),
        ("dataset: {text_stream: {kind: word}}", ["key 'dataset.text_stream.kind': unknown kind 'word'", "'words'"]),
        ("dataset: {text_stream: {kind: words, prefix: q}}", ["unknown key 'dataset.text_stream.prefix'"]),
        ("dataset: {text_stream: {width: wide}}", ["key 'dataset.text_stream.width'", "'wide'"]),
        ("dataset: {selection: {metrics: []}}", ["key 'dataset.selection.metrics'", "at least 1"]),
        ("training: {schedule: {shape: milestones}}", ["key 'training.schedule'", "for example [80, 160]"]),
        ("training: {schedule: {milestones: [160, 80]}}", ["key 'training.schedule'", "must ascend"]),
        ("training: {optimiser: adam}", ["key 'training'", "set weight_decay to 0"]),
        ("training: {ranking: {threshold: 0.7}}", ["key 'training.ranking.kind' is missing"]),
        ("training: {ranking: {kind: nms}}", ["key 'training.ranking.threshold' is missing"]),
        ("training: {ranking: {kind: nms, threshold: 0.7, sigma: 1.0}}", ["unknown key 'training.ranking.sigma'"]),
        ("dataset: {source_video: '(.+'}", ["'dataset'", "no regular expression"]),
        ("dataset: {source_video: '(.+)_(.+)'}", ["'dataset'", "one group", "has 2"]),
        (
            "dataset: {video_streams: [{name: a, directory: b, width: 3, sufix: .npy}]}",
            ["'dataset.video_streams.0.sufix'", "'dataset.video_streams.0.suffix'"],
        ),
    ],
)
def test_errors_name_file_key_and_remedy(tmp_path, text, fragments):
    scale = scale_file(tmp_path, text)
    with pytest.raises(SettingsError) as caught:
        full(scale)
    for fragment in [scale, *fragments]:
        assert fragment in str(caught.value)


def test_a_text_stream_without_a_kind_is_named(tmp_path):
    config = tmp_path / "config"
    shutil.copytree(CONFIG, config)
    path = config / "settings" / "tacos.yaml"
    path.write_text(path.read_text().replace("text_stream: {kind: files,", "text_stream: {"))
    with pytest.raises(SettingsError, match=r"tacos\.yaml: key 'text_stream\.kind' is missing"):
        resolve_dataset("tacos", "paper", config)


def test_a_record_of_another_kind_starts_afresh(tmp_path):
    own = scale_file(tmp_path, "dataset: {text_stream: {kind: words, width: 50}}")
    assert resolve_dataset("qvhighlights", own).text_stream == WordVectors(width=50)


def test_a_method_and_a_benchmark_have_a_ranking_of_their_own(tmp_path):
    text = (
        "method_training: {sa_detr: {ranking: {kind: nms, threshold: 0.7, kept: 10}}}\n"
        "settings: {tacos: {method_training: {sa_detr: {ranking: {kind: linear_soft_nms, threshold: 0.3}}}}}"
    )
    own = scale_file(tmp_path, text)
    found = {
        (setting, method): resolve(setting, method, "full", 2018, own).training.ranking
        for setting in ("qvhighlights", "tacos")
        for method in ("sa_detr", "qd_detr")
    }
    assert found == {
        ("qvhighlights", "sa_detr"): HardSuppression(threshold=0.7, kept=10),
        # Another kind starts afresh.
        ("tacos", "sa_detr"): LinearSuppression(threshold=0.3),
        ("qvhighlights", "qd_detr"): ScoreRanking(clamp_to_duration=False),
        ("tacos", "qd_detr"): ScoreRanking(clamp_to_duration=False),
    }


def test_words_may_keep_their_punctuation(tmp_path):
    own = scale_file(tmp_path, "settings: {charades_sta_vgg: {dataset: {text_stream: {strip_punctuation: false}}}}")
    stream = resolve_dataset("charades_sta_vgg", "mini").text_stream
    assert stream.strip_punctuation
    assert resolve_dataset("charades_sta_vgg", own).text_stream == stream.model_copy(
        update={"strip_punctuation": False}
    )


def test_corpora_are_layered_like_everything_else(tmp_path):
    own = scale_file(tmp_path, "corpus: {train_queries: 7}\nsettings: {tacos: {corpus: {clips: 50}}}")
    default = resolve_corpus("tacos", "mini")
    # Within a scale the part for one setting wins, and a scale wins over the one that it extends.
    assert resolve_corpus("tacos", own) == default.model_copy(update={"train_queries": 7, "clips": 50})
    general = resolve_corpus("qvhighlights", "mini")
    assert resolve_corpus("qvhighlights", own) == general.model_copy(update={"train_queries": 7})


def test_unreadable_yaml_and_unknown_names(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text("training: [")
    with pytest.raises(SettingsError, match="cannot be read as YAML"):
        full(str(path))
    with pytest.raises(SettingsError, match="Known names: mini, paper, simulated"):
        full("minni")
    with pytest.raises(SettingsError, match="nearest is 'full'"):
        resolve("qvhighlights", "sa_detr", "ful", 2018, "mini")
    with pytest.raises(SettingsError, match="Known names: charades_sta, charades_sta_vgg, qvhighlights"):
        resolve_dataset("qvh", "mini")


def test_scales_cannot_extend_each_other_in_a_circle(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text(f"extends: {path}\nlabel: own\ndata: generated\n")
    with pytest.raises(SettingsError, match="leads back"):
        full(str(path))


def test_a_fault_in_a_variant_names_the_method_file(tmp_path):
    config = tmp_path / "config"
    shutil.copytree(CONFIG, config)
    path = config / "methods" / "sa_detr.yaml"
    content = yaml.safe_load(path.read_text())
    content["variants"]["full"] = {"model": {"dn": {"enable": False}}}
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(
        SettingsError, match=rf"{path}: unknown key 'variants.full.model.dn.enable'.*'variants.full.model.dn.enabled'"
    ):
        resolve("qvhighlights", "sa_detr", "full", 2018, "mini", config)


def test_identity_ignores_name_and_device_but_nothing_else():
    settings = full("mini")
    renamed = settings.model_copy(update={"variant": "other"})
    assert renamed.identity() == settings.identity()
    moved = settings.model_copy(update={"execution": settings.execution.model_copy(update={"threads": 8})})
    assert moved.identity() == settings.identity()
    assert settings.model_copy(update={"seed": 1}).identity() != settings.identity()


def test_every_variant_but_an_alias_is_a_network_of_its_own():
    variants = load_method("sa_detr").variants
    identities = {}
    for variant in variants:
        identity = str(resolve("qvhighlights", "sa_detr", variant, 2018, "paper").identity())
        identities.setdefault(identity, []).append(variant)
    assert [names for names in identities.values() if len(names) > 1] == [["full", "fa_qi_ad_dn", "groups_5"]]


def test_a_scale_changes_a_methods_training_and_nobody_elses(tmp_path):
    scale = scale_file(tmp_path, "settings: {qvhighlights: {method_training: {qd_detr: {epochs: 3}}}}")
    changed, other = (resolve("qvhighlights", method, "full", 2018, scale) for method in ("qd_detr", "sa_detr"))
    assert changed.training.epochs == 3
    assert other.training == full("mini").training
    (tmp_path / "typo").mkdir()
    scale = scale_file(tmp_path / "typo", "method_training: {qd_detr: {epoch: 3}}")
    with pytest.raises(SettingsError, match=r"'method_training.qd_detr.epoch'.*'method_training.qd_detr.epochs'"):
        resolve("qvhighlights", "qd_detr", "full", 2018, scale)


@pytest.mark.parametrize("setting", ["qvhighlights", "charades_sta", "charades_sta_vgg", "tacos"])
@pytest.mark.parametrize("method", ["moment_detr", "qd_detr"])
def test_baselines_train_at_a_constant_rate_as_published(setting, method):
    settings = resolve(setting, method, "full", 2018, "paper")
    training = settings.training
    assert (training.batch_size, training.epochs, training.schedule.shape) == (32, 200, "constant")
    official = setting == "qvhighlights"
    assert (training.learning_rate, settings.model.loss.saliency) == ((1e-4, 1) if official else (2e-4, 4))
