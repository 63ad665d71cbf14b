"""The mini corpora of all benchmark settings: each has its benchmark's layout, quirks and shape."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from sadetr.configuration import resolve_corpus, resolve_dataset
from sadetr.data.annotations import Query, clip_count, read_annotations
from sadetr.data.corpus import generate, sentences, timeline
from sadetr.data.preparation import prepare
from sadetr.data.store import FeatureStore
from sadetr.data.words import split_words
from sadetr.errors import SettingsError
from sadetr.settings import CorpusSettings, DatasetSettings, FeatureSettings

SIZES = {"train_queries": 120, "val_queries": 30, "test_queries": 30}
OTHERS = ("charades_sta", "charades_sta_vgg", "tacos")


@dataclass(frozen=True)
class Corpus:
    """A smaller corpus of a setting's mini scale, prepared."""

    dataset: DatasetSettings
    root: Path
    splits: dict[str, list[Query]]
    store: FeatureStore

    @property
    def queries(self) -> list[Query]:
        return [query for split in self.splits.values() for query in split]

    @property
    def features(self) -> Path:
        return self.root / "features" / self.dataset.name


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Corpus]:
    made = {}
    for setting in OTHERS:
        root = tmp_path_factory.mktemp(setting)
        dataset = resolve_dataset(setting, "mini")
        generate(dataset, resolve_corpus(setting, "mini").model_copy(update=SIZES), root)
        prepare(dataset, FeatureSettings(), root, root / "store")
        folder = root / "annotations" / setting
        splits = {
            name: read_annotations(folder / file, dataset.annotation_rules)
            for name, file in dataset.annotations.items()
        }
        made[setting] = Corpus(dataset, root, splits, FeatureStore.open(root / "store"))
    return made


@pytest.mark.parametrize("setting", OTHERS)
def test_one_window_per_query_off_the_grid_without_saliency(corpora: dict[str, Corpus], setting: str) -> None:
    made = corpora[setting]
    clip = made.dataset.clip_length
    assert all(query.saliency is None and len(query.windows) == 1 for query in made.queries)
    shifts = np.array([query.duration / clip % 1 for query in made.queries])
    assert np.mean((shifts > 0.02) & (shifts < 0.98)) > 0.9
    ends = np.concatenate([query.windows.ravel() / clip for query in made.queries])
    assert np.mean(np.abs(ends - np.round(ends)) > 0.05) > 0.5
    sizes = {"train": 120, "val": 30, "test": 30}
    assert {name: len(split) for name, split in made.splits.items()} == {name: sizes[name] for name in made.splits}


@pytest.mark.parametrize("setting", OTHERS)
def test_features_have_the_whole_clips_of_the_duration(corpora: dict[str, Corpus], setting: str) -> None:
    made = corpora[setting]
    rows = made.store.video_rows(query.vid for query in made.queries)
    whole = np.array([clip_count(query.duration, made.dataset.clip_length) for query in made.queries])
    missing = whole - made.store.video_lengths[rows]
    assert set(missing.tolist()) == {0, 1}
    assert missing.mean() < 0.2


def test_tacos_has_few_long_videos_with_many_queries(corpora: dict[str, Corpus]) -> None:
    made = corpora["tacos"]
    vids = [query.vid for query in made.queries]
    assert len(vids) / len(set(vids)) > 5
    regular = resolve_corpus("qvhighlights", "mini").clips
    lengths = made.store.video_lengths
    assert lengths.mean() > 1.5 * regular
    assert lengths.max() > 2 * lengths.min()
    # Named by their video, numbered within it.
    for vid in set(vids):
        ours = [query.qid for query in made.queries if query.vid == vid]
        assert ours == [f"{vid}_{number}" for number in range(len(ours))]
    files = {path.stem for path in (made.features / "clip_text_features").iterdir()}
    assert files == {query.qid for query in made.queries}
    repeated = len(vids) - len({(query.vid, query.query) for query in made.queries})
    assert 0 < repeated < 0.2 * len(vids)


def test_vgg_has_bare_arrays_of_sixth_seconds_and_a_table_of_words(corpora: dict[str, Corpus]) -> None:
    made = corpora["charades_sta_vgg"]
    assert made.dataset.clip_length == pytest.approx(1 / 6, abs=1e-5)
    files = list((made.features / "vgg_features/rgb_features").iterdir())
    assert {path.suffix for path in files} == {".npy"}
    assert np.load(files[0]).shape[1] == made.dataset.video_width
    lines = (made.features / "glove.6B.300d.txt").read_text().splitlines()
    table = {line.split(" ")[0] for line in lines}
    assert len(table) == len(lines)
    assert {line.count(" ") for line in lines} == {made.dataset.text_stream.width}
    stripped = {word for query in made.queries for word in split_words(query, strip_punctuation=True)}
    plain = {word for query in made.queries for word in split_words(query, strip_punctuation=False)}
    assert 0 < len(stripped - table) < 0.2 * len(stripped), "a few words are unknown"
    assert len(plain - table) > len(stripped - table), "no word carries punctuation"


def test_forms_of_a_verb_resemble_each_other(corpora: dict[str, Corpus]) -> None:
    lines = (corpora["charades_sta_vgg"].features / "glove.6B.300d.txt").read_text().splitlines()
    vectors = {line.split(" ")[0]: np.array(line.split(" ")[1:], float) for line in lines}
    similar = np.corrcoef([vectors[word] for word in ("cleans", "cleaning", "carries", "kitchen")])
    assert similar[0, 1] > 0.9
    assert np.abs(similar[0, 2:]).max() < 0.7


def test_untidy_sentences_keep_their_words_but_one() -> None:
    rng = np.random.default_rng(0)
    text = "A chef carries the lamp in the garden."
    slips = {sentences.make_untidy(rng, text) for _ in range(200)}
    assert slips >= {f" {text}", "A  chef carries the lamp in the garden.", "A chhef carries the lamp in the garden."}
    for slip in slips:
        changed = [word for word in slip.split() if word not in text.split()]
        assert len(changed) <= 1
        assert len(slip.split()) == len(text.split())


def test_events_that_do_not_fit_are_an_error() -> None:
    corpus = CorpusSettings(median_event=0.5, event_spread=0.0, queries_per_video=8)
    with pytest.raises(SettingsError, match="queries_per_video"):
        timeline.compose(np.random.default_rng(0), corpus, 32, 8, True)
