"""Sentences about videos: what is predicted, what is kept, and what is refused."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import safetensors.torch
import torch

from sadetr.configuration import CONFIG, load_method, resolve
from sadetr.data.annotations import read_annotations
from sadetr.data.batches import Split
from sadetr.data.preparation import prepare
from sadetr.data.store import FeatureStore
from sadetr.errors import DataError, ResultsError, SettingsError
from sadetr.extraction.choices import Sampling
from sadetr.extraction.command import extract
from sadetr.extraction.decoding import probe
from sadetr.extraction.extractors import Extracted
from sadetr.locating import Located
from sadetr.locating import features as making
from sadetr.models.construction import make_method
from sadetr.training.checkpoint import write_tensors
from sadetr.training.prediction import predict
from tests.extraction import networks
from tests.extraction.videos import write_sound
from tests.locating.conftest import RUN, options_for

METHODS = sorted(path.stem for path in (CONFIG / "methods").glob("*.yaml"))
SENTENCES = ["the red thing", "a cat and the blue thing"]


def same(first: Located, second: Located) -> None:
    assert first.windows == second.windows
    assert np.array_equal(first.saliency, second.saliency)


@pytest.fixture(scope="module")
def prepared(studio, tmp_path_factory):
    """The short video and its sentences on the way that benchmarks go; data root and store."""
    root = tmp_path_factory.mktemp("benchmark")
    (root / "annotations/qvhighlights").mkdir(parents=True)
    rows = [
        {"qid": qid, "query": sentence, "vid": "short", "duration": 8, "relevant_windows": [[2, 4]]}
        for qid, sentence in enumerate(SENTENCES)
    ]
    for split, chosen in (("train", rows), ("val", rows[:0]), ("test", rows[:0])):
        other = {**rows[0], "qid": split}
        text = "".join(json.dumps(row) + "\n" for row in chosen or [other])
        (root / f"annotations/qvhighlights/{split}.jsonl").write_text(text)
    settings = studio.settings
    extract(settings.dataset, [], options_for(studio.weights, root, videos=studio.folder), 1)
    prepare(settings.dataset, settings.features, root, root / "store")
    return root


def test_a_video_that_fits_is_answered_as_a_benchmark_predicts_it(studio, predictor, prepared):
    settings = studio.settings
    queries = read_annotations(prepared / "annotations/qvhighlights/train.jsonl", settings.dataset.annotation_rules)
    split = Split(queries, FeatureStore.open(prepared / "store"), settings.dataset)
    network = predictor._network
    found = predict(network.model, split, 1, predictor._options.device, ranking=settings.training.ranking)
    rows = found.rows(queries)
    for row, located in zip(rows, predictor.locate(studio.short, SENTENCES), strict=True):
        expected = [window for window in row["pred_relevant_windows"] if window[0] < window[1]]
        assert [[window.start, window.end, window.score] for window in located.windows] == expected
        assert located.saliency.tolist() == row["pred_saliency_scores"]
        assert (located.duration, located.clip_length) == (8.0, 2.0)


def test_a_long_video_is_covered(studio, predictor):
    (located,) = predictor.locate(studio.long, "the red thing")
    assert located.duration == pytest.approx(15.0)
    assert len(located.saliency) == 8
    assert located.edges[[0, -1]].tolist() == [0, 15]
    assert np.isfinite(located.saliency).all()
    assert all(0 <= window.start < window.end <= 15 for window in located.windows)
    # Pieces from 0, 4 and 7 s: something was found in the first and in the last one.
    assert min(window.start for window in located.windows) < 4
    assert max(window.end for window in located.windows) > 12
    scores = [window.score for window in located.windows]
    assert scores == sorted(scores, reverse=True)


def test_an_answer_is_independent_of_other_sentences(studio, predictor):
    together = predictor.locate(studio.long, [*SENTENCES, "the"])
    for sentence, located in zip(SENTENCES, together, strict=False):
        same(predictor.locate(str(studio.long), sentence)[0], located)
        assert (located.sentence, located.video) == (sentence, str(studio.long))


def test_a_checkpoint_file_answers_as_its_run(studio, predictor, tmp_path):
    file = studio.layout.run(RUN).checkpoint("best")
    shutil.copy(file, tmp_path / "own.safetensors")
    loaded = studio.load(
        str(tmp_path / "own.safetensors"), setting="qvhighlights", method="sa_detr", cache=studio.cache
    )
    same(loaded.locate(studio.short, "the")[0], predictor.locate(studio.short, "the")[0])


@pytest.mark.parametrize("method", METHODS)
def test_every_method_answers_about_a_long_video(studio, method, tmp_path):
    settings = resolve("qvhighlights", method, next(iter(load_method(method).variants)), 1, str(studio.scale))
    torch.manual_seed(0)
    file = tmp_path / "random.safetensors"
    write_tensors(file, make_method(settings).state_dict(), {"method": method})
    (located,) = studio.load(file, setting="qvhighlights", cache=studio.cache).locate(studio.long, "the red thing")
    assert len(located.saliency) == 8
    assert np.isfinite(located.saliency).all()
    assert all(np.isfinite((window.start, window.end, window.score)).all() for window in located.windows)


class TestCache:
    @pytest.fixture(autouse=True)
    def extracted(self, monkeypatch) -> list:
        """Paths of videos that were extracted; their features are quickly drawn instead."""
        calls = []

        def draw(path, extractors, decoder):
            rng = np.random.default_rng(len(calls))
            calls.append(path)
            streams = {
                name: rng.normal(size=(8, extractor.width)).astype(np.float16) for name, extractor in extractors.items()
            }
            video = replace(probe(path), duration=15.0, warnings=["a warning"])
            return Extracted(video, streams)

        monkeypatch.setattr(making, "extract_video", draw)
        return calls

    def test_features_are_made_once_per_content(self, studio, extracted, tmp_path):
        folder = tmp_path / "cache"
        first = studio.load(cache=folder).locate(studio.long, SENTENCES)
        copy = shutil.copy(studio.long, tmp_path / "copy.mp4")
        again = studio.load(cache=folder).locate(copy, SENTENCES)
        assert len(extracted) == 1
        for one, two in zip(first, again, strict=True):
            same(one, two)
            assert one.warnings == two.warnings == ("a warning",)
        # Without the cache the features are made again, and these are others.
        (without,) = studio.load().locate(studio.long, SENTENCES[0])
        assert len(extracted) == 2
        assert not np.array_equal(without.saliency, first[0].saliency)
        assert [path.suffix for path in folder.iterdir()] == [".npz"]

    def test_other_weights_and_options_are_other_features(self, studio, extracted, tmp_path):
        folder = tmp_path / "cache"
        studio.load(cache=folder).locate(studio.short, "the")
        sampled = options_for(studio.weights, studio.folder, sampling=Sampling.uniform)
        studio.load(cache=folder, options=sampled).locate(studio.short, "the")
        other = networks.write_slowfast(tmp_path / "other.pkl", networks.randomise(networks.slowfast(), 9))
        options = replace(options_for(studio.weights, studio.folder), slowfast_weights=other)
        studio.load(cache=folder, options=options).locate(studio.short, "the")
        assert len(extracted) == len(list(folder.iterdir())) == 3

    def test_a_damaged_file_is_made_again(self, studio, extracted, tmp_path):
        caching = studio.load(cache=tmp_path)
        caching.locate(studio.short, "the")
        (file,) = tmp_path.iterdir()
        file.write_bytes(file.read_bytes()[:500])
        (anew,) = caching.locate(studio.short, "the")
        same(caching.locate(studio.short, "the")[0], anew)
        assert len(extracted) == 2

    def test_a_folder_that_cannot_be_written_is_one_error(self, studio, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(ResultsError, match="cannot be written"):
            studio.load(cache=tmp_path / "file").locate(studio.short, "the")


class TestRefusals:
    @pytest.mark.parametrize("blank", ["", "  \n"])
    def test_a_blank_sentence(self, studio, predictor, blank):
        with pytest.raises(DataError, match="sentence 2 is blank"):
            predictor.locate(studio.short, ["the", blank])

    def test_nothing_asked_is_nothing_answered(self, studio, predictor):
        assert predictor.locate(studio.short, []) == []

    def test_what_is_no_video(self, studio, predictor, tmp_path):
        with pytest.raises(DataError, match=r"nothing.mp4: cannot be opened"):
            predictor.locate(tmp_path / "nothing.mp4", "the")
        (tmp_path / "text.mp4").write_text("Dear diary, " * 100)
        with pytest.raises(DataError, match=r"text\.mp4: "):
            predictor.locate(tmp_path / "text.mp4", "the")
        with pytest.raises(DataError, match="holds no video stream"):
            predictor.locate(write_sound(tmp_path / "sound.mp4"), "the")
        cut = tmp_path / "cut.mp4"
        cut.write_bytes(studio.long.read_bytes()[:-2000])
        with pytest.raises(DataError, match=r"cut\.mp4: "):
            predictor.locate(cut, "the")

    @pytest.mark.parametrize(
        ("setting", "message"),
        [
            ("charades_sta_vgg", r"the video features 'vgg'"),
            ("tacos_glove", r"the word vectors glove\.840B\.300d\.txt"),
        ],
    )
    def test_features_that_are_not_made_here(self, studio, setting, message):
        with pytest.raises(SettingsError, match=message):
            studio.load(f"{setting}/vslnet/full/seed1", scale="paper")

    @pytest.mark.parametrize("scale", ["mini", "simulated"])
    def test_networks_that_never_saw_videos(self, studio, scale):
        with pytest.raises(SettingsError, match="its networks know nothing of videos"):
            studio.load(scale=scale)

    def test_a_run_that_is_not_trained(self, studio):
        with pytest.raises(ResultsError, match=r"seed2/checkpoints/best.safetensors: not there; train the run first"):
            studio.load(str(replace(RUN, seed=2)))

    def test_a_file_without_its_setting_or_method(self, studio):
        file = studio.layout.run(RUN).checkpoint("best")
        with pytest.raises(SettingsError, match="--setting SETTING"):
            studio.load(file)
        with pytest.raises(ResultsError, match=r"none\.pt: .*import-weights"):
            studio.load(file.with_name("none.pt"), setting="qvhighlights")

    def test_weights_that_are_not_there_or_not_these(self, studio, tmp_path):
        options = options_for(studio.weights, studio.folder)
        with pytest.raises(DataError, match=r"none\.pkl: SlowFast's weights cannot be read"):
            studio.load(options=replace(options, slowfast_weights=tmp_path / "none.pkl"))
        with pytest.raises(DataError, match="is not CLIP's weights as published"):
            studio.load(options=replace(options, accept_others=False))
        wide = networks.write_slowfast(tmp_path / "wide.pkl", networks.slowfast(16))
        with pytest.raises(SettingsError, match="'slowfast' is 288 wide in the setting"):
            studio.load(options=replace(options, slowfast_weights=wide))

    def test_other_weights_than_the_training_had(self, studio, prepared, tmp_path):
        own = replace(studio, folder=tmp_path)
        shutil.copy(studio.scale, own.scale)
        shutil.copytree(studio.results, own.results)
        shutil.copytree(prepared / "store", own.layout.store("qvhighlights"))
        own.load()
        other = networks.write_slowfast(tmp_path / "other.pkl", networks.randomise(networks.slowfast(), 9))
        options = options_for(studio.weights, tmp_path)
        with pytest.raises(SettingsError, match=r"'slowfast': .* extracted with weights of sha256"):
            own.load(options=replace(options, slowfast_weights=other))
        with pytest.raises(SettingsError, match="extracted with sampling hero, and now it is uniform"):
            own.load(options=replace(options, sampling=Sampling.uniform))

    def test_a_network_of_other_sizes(self, studio, tmp_path):
        tensors = safetensors.torch.load_file(studio.layout.run(RUN).checkpoint("best"))
        name = next(name for name, value in tensors.items() if value.ndim == 2)
        tensors[name] = tensors[name][:-1].contiguous()
        safetensors.torch.save_file(tensors, tmp_path / "other.safetensors")
        with pytest.raises(ResultsError, match="does not fit the network sa_detr/full"):
            studio.load(tmp_path / "other.safetensors", setting="qvhighlights", method="sa_detr")
