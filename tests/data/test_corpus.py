"""The generated corpus: official layout, determinism, and the properties that make it a fair exercise."""

from pathlib import Path

import numpy as np
import pytest

from sadetr.data.annotations import Query, read_annotations
from sadetr.data.corpus import generate, generation, sentences, timeline
from sadetr.data.corpus.features import FeatureModel, visibility
from sadetr.data.corpus.vocabulary import OBJECTS, PEOPLE, PLACES, VERBS, is_held_out
from sadetr.errors import DataError, ResultsError
from sadetr.settings import CorpusSettings, DatasetSettings


def contents(root: Path) -> dict[str, bytes]:
    return {str(file.relative_to(root)): file.read_bytes() for file in root.rglob("*") if file.is_file()}


@pytest.fixture(scope="module")
def splits(dataset: DatasetSettings, shared_root: Path) -> dict[str, list[Query]]:
    folder = shared_root / "annotations" / dataset.name
    rules = dataset.annotation_rules
    return {split: read_annotations(folder / file, rules) for split, file in dataset.annotations.items()}


@pytest.fixture(scope="module")
def queries(splits: dict[str, list[Query]]) -> list[Query]:
    return [query for split in splits.values() for query in split]


def timelines(count: int, training: bool = True, **settings: float) -> list[timeline.Timeline]:
    corpus = CorpusSettings(**settings)
    rng = np.random.default_rng(7)
    return [timeline.compose(rng, corpus, corpus.clips, corpus.queries_per_video, training) for _ in range(count)]


def test_files_follow_the_official_layout(dataset: DatasetSettings, shared_root: Path, queries: list[Query]) -> None:
    folder = shared_root / "features" / dataset.name
    for query in queries:
        for stream in dataset.video_streams:
            with np.load(folder / stream.directory / f"{query.vid}.npz", allow_pickle=False) as archive:
                assert archive["features"].shape[1] == stream.width
                assert archive["features"].dtype == np.float32
        with np.load(folder / "clip_text_features" / f"qid{query.qid}.npz", allow_pickle=False) as archive:
            assert archive["last_hidden_state"].shape[1] == archive["pooler_output"].shape[0] == 10
    assert [query.qid for query in queries] == list(range(91))
    assert queries[0].vid == "g00000_0.0_48.0"


def test_the_same_settings_give_the_same_bytes(
    dataset: DatasetSettings, corpus: CorpusSettings, shared_root: Path, tmp_path: Path
) -> None:
    generate(dataset, corpus, tmp_path)
    assert contents(tmp_path) == contents(shared_root)
    generate(dataset, corpus.model_copy(update={"seed": 1}), tmp_path)
    changed = contents(tmp_path)["annotations/small/train.jsonl"]
    assert changed != contents(shared_root)["annotations/small/train.jsonl"]


def test_splits_have_their_sizes_and_share_no_video(splits: dict[str, list[Query]]) -> None:
    assert {split: len(queries) for split, queries in splits.items()} == {"train": 60, "val": 21, "test": 10}
    videos = [{query.vid for query in queries} for queries in splits.values()]
    assert len(set.union(*videos)) == sum(map(len, videos))


def test_windows_lie_on_the_clip_grid_and_cover_the_relevant_clips(queries: list[Query]) -> None:
    for query in queries:
        clips = query.windows / 2
        np.testing.assert_array_equal(clips, np.round(clips))
        assert (query.windows[1:, 0] > query.windows[:-1, 1]).all(), "windows touch or are unsorted"
        covered = np.concatenate([np.arange(start, end) for start, end in clips])
        np.testing.assert_array_equal(query.relevant_clip_ids, covered)


def test_some_videos_are_shorter_and_some_features_one_clip_short(
    dataset: DatasetSettings, shared_root: Path, queries: list[Query]
) -> None:
    assert {query.duration for query in queries if query.duration < 48}
    assert min(query.duration for query in queries) >= 36
    missing = set()
    for query in queries:
        folder = shared_root / "features" / dataset.name
        lengths = [len(np.load(folder / s.directory / f"{query.vid}.npz")["features"]) for s in dataset.video_streams]
        missing.add(tuple(int(query.duration / 2) - length for length in lengths))
    assert missing == {(0, 0), (0, 1), (1, 0)}


def test_events_cover_the_video_and_neighbours_differ() -> None:
    for video in timelines(100):
        assert video.events[0].start == 0
        assert video.clips == 32
        for before, after in zip(video.events, video.events[1:], strict=False):
            assert before.end == after.start
            assert before.attributes != after.attributes


def test_window_counts_and_lengths_are_like_the_benchmark() -> None:
    videos = timelines(500)
    windows = [video.windows(described) for video in videos for described in video.described]
    weights = CorpusSettings().window_counts
    counts = np.bincount([len(w) for w in windows], minlength=5) / len(windows)
    np.testing.assert_allclose(counts[1:], np.divide(weights, sum(weights)), atol=0.04)
    lengths = np.array([end - start for w in windows for start, end in w]) / 32
    assert 0.09 <= np.median(lengths) <= 0.2
    assert 0.01 <= np.mean(lengths >= 0.5) <= 0.08, "too few or too many long windows"


def test_no_constant_prediction_is_good() -> None:
    windows = [video.windows(described) for video in timelines(300) for described in video.described]
    grid = [(start, end) for start in range(0, 32, 2) for end in range(start + 2, 33, 2)]

    def overlap(a: tuple[int, int], b: tuple[int, int]) -> float:
        intersection = min(a[1], b[1]) - max(a[0], b[0])
        return max(0, intersection) / (max(a[1], b[1]) - min(a[0], b[0]))

    recall = [np.mean([max(overlap(guess, w) for w in true) >= 0.5 for true in windows]) for guess in grid]
    assert max(recall) < 0.25, "of all constants, chosen with hindsight"
    assert recall[grid.index((0, 32))] < 0.1, "the whole video"
    assert recall[grid.index((14, 18))] < 0.1, "about the mean span"


@pytest.mark.parametrize("rate", [0.0, 0.35, 1.0])
def test_distractors_differ_in_exactly_one_attribute(rate: float) -> None:
    nearest = [
        min(len(timeline.differences(event.attributes, described)) for described in video.described)
        for video in timelines(150, distractor_rate=rate)
        for event in video.events
        if event.attributes not in video.described
    ]
    assert min(nearest) == 1, "an undescribed event fits a description"
    # Unrelated combinations are one attribute away by chance, 28 in 4,096 for each of two descriptions.
    assert np.mean(np.equal(nearest, 1)) == pytest.approx(rate + (1 - rate) * 0.014, abs=0.05)


def test_described_combinations_of_evaluation_never_occur_in_training() -> None:
    values = CorpusSettings().values_per_attribute
    assert not any(is_held_out(event.attributes, values) for video in timelines(100) for event in video.events)
    evaluation = timelines(100, training=False)
    assert all(is_held_out(described, values) for video in evaluation for described in video.described)
    assert len({described for video in evaluation for described in video.described}) > 150


def test_a_sentence_fits_no_other_event_of_its_video() -> None:
    rng = np.random.default_rng(0)
    omitted_counts = np.zeros(4)
    for video in timelines(200):
        for described in video.described:
            for omitted in [None, *sentences.omissible(video, described)]:
                if omitted is not None:
                    omitted_counts[omitted] += 1
                tokens = sentences.compose(rng, described, omitted)
                said = dict(token.meaning for token in tokens if token.meaning)
                assert said == {index: value for index, value in enumerate(described) if index != omitted}
                fitting = {e.attributes for e in video.events if all(e.attributes[i] == v for i, v in said.items())}
                assert fitting == {described}
    assert omitted_counts.min() > 0


def test_sentences_read_naturally_and_vary() -> None:
    rng = np.random.default_rng(0)
    attributes = (9, 3, 7, 2)  # actor, photographs, umbrella, garage
    tokens = [sentences.compose(rng, attributes, None) for _ in range(300)]
    spelled = {sentences.spell(sentence) for sentence in tokens}
    assert "In the garage, an actor photographs the umbrella." in spelled
    assert "The umbrella is photographed by an actor in the garage" in spelled
    assert not any(" a a" in text or " a u" in text or "  " in text for text in spelled)
    assert len({len(sentence) for sentence in tokens}) >= 4
    positions = {[token.meaning for token in sentence].index((3, 2)) for sentence in tokens}
    assert len(positions) >= 4, "the place is always said at the same position"
    without_place = {sentences.spell(sentences.compose(rng, attributes, 3)) for _ in range(200)}
    assert not any(text.startswith(",") or "garage" in text or " in " in text for text in without_place)


def test_the_vocabulary_has_as_many_words_as_the_settings_allow() -> None:
    limit = next(
        part.le for part in CorpusSettings.model_fields["values_per_attribute"].metadata if hasattr(part, "le")
    )
    for words in (PEOPLE, OBJECTS, PLACES, VERBS):
        assert len(set(words)) == limit
    assert not {*PEOPLE, *OBJECTS, *PLACES, *(form for verb in VERBS for form in verb)} & {*sentences.FUNCTION_WORDS}


def test_saliency_follows_visibility_and_is_lower_at_borders() -> None:
    rng = np.random.default_rng(0)
    clear = np.repeat([0.6, 0.8, 1.0], 300)
    scores = generation._saliency(rng, clear)
    assert scores.shape == (900, 3)
    assert scores.min() >= 0
    assert scores.max() == 4
    means = scores.reshape(3, 300, 3).mean(axis=(1, 2))
    assert means[0] + 0.4 < means[1] < means[2] - 0.3
    events = [timeline.Event((0, 0, 0, 0), start, start + 8) for start in range(0, 800, 8)]
    shown = visibility(rng, events).reshape(100, 8)
    assert shown[:, [0, -1]].mean() < 0.85 * shown[:, 1:-1].mean()


def test_annotators_use_the_whole_scale_and_disagree(queries: list[Query]) -> None:
    scores = np.concatenate([query.saliency for query in queries])
    shares = np.bincount(scores.ravel(), minlength=5) / scores.size
    assert 0.25 < shares[4] < 0.5
    assert (np.ptp(scores, axis=1) > 0).mean() > 0.3


def test_noise_levels_are_relative_to_the_signal(dataset: DatasetSettings) -> None:
    (video,) = timelines(1)
    quiet = {"video_noise": 0.0, "appearance_noise": 0.0, "background": 0.0, "text_noise": 0.0}
    wide = dataset.model_copy(
        update={"video_streams": [s.model_copy(update={"width": 400}) for s in dataset.video_streams]}
    )

    def features(**noise: float) -> np.ndarray:
        corpus = CorpusSettings(**{**quiet, **noise})
        model = FeatureModel(np.random.default_rng(0), corpus, wide)
        return np.concatenate(
            list(model.clip_features(np.random.default_rng(1), video, np.ones(video.clips)).values()), axis=1
        )

    signal = features()
    assert signal.std() == pytest.approx(1, abs=0.35)
    for knob in ("video_noise", "background"):
        assert (features(**{knob: 0.5}) - signal).std() == pytest.approx(0.5, abs=0.05)
    inside = max(video.events, key=lambda event: event.end - event.start)
    rows = slice(inside.start + 1, inside.end - 1)
    np.testing.assert_allclose(np.ptp(signal[rows], axis=0), 0, atol=1e-5)
    assert (features(appearance_noise=0.5) - signal)[rows].std() == pytest.approx(0.5, abs=0.05)


def test_the_same_word_looks_alike_and_other_words_do_not(dataset: DatasetSettings) -> None:
    wide = dataset.model_copy(update={"text_stream": dataset.text_stream.model_copy(update={"width": 300})})
    model = FeatureModel(np.random.default_rng(0), CorpusSettings(), wide)
    rng = np.random.default_rng(1)
    chef, nurse = sentences.Token("chef", (0, 0)), sentences.Token("nurse", (0, 3))
    rows = model.token_features(rng, [chef, nurse, chef])
    similarity = np.corrcoef(rows)
    assert similarity[0, 2] > 0.8
    assert abs(similarity[0, 1]) < 0.6


def test_a_split_without_a_size_is_an_error(dataset: DatasetSettings, tmp_path: Path) -> None:
    extended = dataset.model_copy(update={"annotations": {**dataset.annotations, "dev": "dev.jsonl"}})
    with pytest.raises(DataError, match="'dev'"):
        generate(extended, CorpusSettings(), tmp_path)
    assert not list(tmp_path.iterdir())


def test_downloaded_features_are_never_overwritten(
    dataset: DatasetSettings, corpus: CorpusSettings, tmp_path: Path
) -> None:
    precious = tmp_path / "features" / dataset.name / "clip_features" / "video.npz"
    precious.parent.mkdir(parents=True)
    precious.touch()
    with pytest.raises(ResultsError, match="not overwritten"):
        generate(dataset, corpus, tmp_path)
    assert precious.exists()


def test_a_failure_leaves_nothing(
    dataset: DatasetSettings, corpus: CorpusSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(generation, "write_annotations", fail)
    with pytest.raises(RuntimeError):
        generate(dataset, corpus, tmp_path)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() or path.name.endswith(".tmp")]
