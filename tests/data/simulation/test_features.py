"""What simulated features show: the described event in its windows, more or less clearly, and nothing by accident."""

from dataclasses import replace

import numpy as np
import pytest

from sadetr.configuration import resolve_dataset, resolve_simulation
from sadetr.data.annotations import Query
from sadetr.data.simulation.embedding import WIDTH, WordSpace, bare, generator
from sadetr.data.simulation.features import VideoModel
from sadetr.data.simulation.projection import Projection
from sadetr.data.simulation.text import WORD_VECTOR_NORM, TextModel
from sadetr.data.simulation.timeline import Video, shown_meaning
from sadetr.data.simulation.vocabulary import other_sentence, similar_sentence
from sadetr.settings import DatasetSettings, SimulationSettings, WordVectors
from tests.data.simulation.conftest import invented_queries

SPACE = WordSpace(2018)
CLEAR = {"noise": 0.0, "clutter": 0.0, "background": 0.0, "appearance": 0.0, "boundary_jitter": 0.0}


def meaning(text: str) -> np.ndarray:
    return SPACE.meaning([bare(token) for token in text.split()]).views


def video(*queries: Query, clips: int = 30) -> Video:
    return Video("v", 2.0 * clips, clips, 2.0, queries)


def query(text: str, *windows: tuple[float, float], scores: dict[int, int] | None = None) -> Query:
    """``scores``: clip -> what each of the three annotators gives."""
    labels = (None, None)
    if scores is not None:
        labels = np.array(list(scores)), np.array([[score] * 3 for score in scores.values()])
    return Query(0, text, "v", 60.0, np.array(windows, dtype=float), *labels)


@pytest.mark.parametrize(
    ("word", "related", "strange"),
    [("cook", "cooking", "dancing"), ("opens", "opened", "closed"), ("vegetable", "vegetables", "microphones")],
)
def test_words_of_one_stem_are_related(word: str, related: str, strange: str) -> None:
    assert SPACE.word(word) @ SPACE.word(related) > 0.25 + abs(SPACE.word(word) @ SPACE.word(strange))


def test_a_sentence_means_its_content_words() -> None:
    assert meaning("The chef is cooking")[0] @ meaning("chef cooking")[0] > 0.95
    assert abs(meaning("The chef is cooking")[0] @ meaning("The dancer is walking")[0]) < 0.4
    # Its motion is mostly the verb's.
    assert meaning("chef cooking")[1] @ SPACE.word("cooking") > meaning("chef cooking")[1] @ SPACE.word("chef") + 0.3


def test_generators_depend_on_their_names_alone() -> None:
    first = generator(1, "a", "b").random(3)
    np.testing.assert_array_equal(generator(1, "a", "b").random(3), first)
    for names in (("ab",), ("b", "a"), ("a",)):
        assert not np.array_equal(generator(1, *names).random(3), first)


def test_projections_are_exact_and_keep_angles_roughly() -> None:
    project = Projection(2018, "test", 512)
    rows = 8 * np.random.default_rng(0).standard_normal((20, WIDTH))
    whole = np.rint(rows * 2**13).astype(np.int64)
    expected = (whole @ project._signs.numpy().astype(np.int64)) / 2.0**13
    np.testing.assert_array_equal(project(rows), expected.astype(np.float32))
    np.testing.assert_array_equal(project(rows[::-1])[::-1], project(rows))
    norms = (project(rows) ** 2).mean(1) / (rows**2).sum(1)
    np.testing.assert_allclose(norms, 1, atol=0.3)


def test_tokens_are_words_in_their_context(dataset: DatasetSettings) -> None:
    model = TextModel(2018, dataset, SPACE)
    rows = model.features("A man,  walking")
    assert rows.shape == (5, 64)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-3)
    assert model.features("one two three four five six seven eight").shape == (9, 64)
    other = model.features("A dog, walking")
    np.testing.assert_array_equal(rows[0], other[0])
    assert 0.5 < rows[3] @ other[3] < 0.999, "the same word in another sentence"
    assert rows[3] @ other[3] > rows[2] @ other[2]


@pytest.mark.parametrize("strip", [True, False])
def test_word_vectors_know_neither_context_nor_punctuation(dataset: DatasetSettings, strip: bool) -> None:
    stream = WordVectors(width=300, strip_punctuation=strip)
    changes = {"text_stream": stream, "max_text_tokens": None}
    model = TextModel(2018, dataset.model_copy(update=changes), SPACE)
    rows = model.features("person opens a Door.")
    assert rows.shape == (4, 300)
    np.testing.assert_array_equal(rows[1], model.features("opens")[0])
    np.testing.assert_allclose(np.linalg.norm(rows[:3], axis=1), WORD_VECTOR_NORM, rtol=0.2)
    expected = model.features("door")[0] if strip else np.zeros(300)
    np.testing.assert_array_equal(rows[3], expected)


def test_the_described_event_is_shown_in_its_windows_and_nowhere_else(simulation: SimulationSettings) -> None:
    settings = simulation.model_copy(update={**CLEAR, "distractor_rate": 0.0})
    text = "The sailor repaired an umbrella"
    shown = shown_meaning(video(query(text, (10, 20), (41, 44))), SPACE, settings)
    for view, wanted in zip(shown, meaning(text), strict=True):
        np.testing.assert_allclose(view[5:10] @ wanted, 1, atol=1e-9)
        # A clip that is half inside shows half of it.
        np.testing.assert_allclose(view[20:22] @ wanted, [0.5, 1], atol=0.35)
        outside = np.r_[0:5, 10:20, 22:30]
        assert abs(view[outside] @ wanted).max() < 0.6
        assert np.linalg.norm(view, axis=1).min() > 0.4, "something is shown in every clip"


def test_saliency_says_how_clearly(simulation: SimulationSettings) -> None:
    settings = simulation.model_copy(update={**CLEAR, "saliency_contrast": 0.6})
    rated = query("A man walking", (10, 16), scores={5: 4, 6: 2, 7: 0})
    shown = shown_meaning(video(rated), SPACE, settings)[0] @ meaning("A man walking")[0]
    np.testing.assert_allclose(shown[5:8], [1, 0.7, 0.4], atol=1e-9)


def test_other_events_are_as_clear_as_described_ones(simulation: SimulationSettings) -> None:
    settings = simulation.model_copy(update=CLEAR)
    rng = np.random.default_rng(0)
    inside, outside = [], []
    for index in range(40):
        scores = dict(enumerate(rng.integers(1, 5, 10).tolist(), 10))
        sample = replace(video(query("A man walking", (20, 40), scores=scores)), vid=str(index))
        norms = np.linalg.norm(shown_meaning(sample, SPACE, settings)[0], axis=1)
        inside.append(norms[11:19].mean())
        outside.append(norms[[*range(9), *range(21, 30)]].mean())
    assert abs(np.mean(inside) - np.mean(outside)) < 0.1


def test_overlapping_windows_are_shown_together_but_no_clearer(simulation: SimulationSettings) -> None:
    settings = simulation.model_copy(update=CLEAR)
    both = (query("A man walking", (0, 60)), query("Two dogs eat", (20, 40)), query("Two dogs eat", (20, 40)))
    shown = shown_meaning(video(*both), SPACE, settings)
    np.testing.assert_allclose(np.linalg.norm(shown, axis=2), 1, rtol=1e-9)
    assert (shown[0, 10:20] @ meaning("A man walking")[0] > 0.3).all()
    assert (shown[0, 10:20] @ meaning("Two dogs eat")[0] > 0.3).all()


def test_moved_boundaries_keep_every_window(simulation: SimulationSettings) -> None:
    settings = simulation.model_copy(update={**CLEAR, "boundary_jitter": 50.0})
    text = "The sailor repaired an umbrella"
    for index in range(20):
        sample = replace(video(query(text, (0, 2), (30, 60))), vid=str(index))
        along = shown_meaning(sample, SPACE, settings)[0] @ meaning(text)[0]
        assert along[0] > 0.2
        assert (along[20:25] > 0.99).all()


def test_similar_sentences_keep_some_words_and_never_all() -> None:
    words, rng = ["the", "chef", "opens", "a", "red", "drum"], np.random.default_rng(0)
    kept = [len({"chef", "opens", "red", "drum"} & set(similar_sentence(rng, words, 0.5))) for _ in range(200)]
    assert set(kept) == {1, 2, 3}
    assert not set(words) & set(similar_sentence(rng, ["the", "chef"], 1.0))
    assert all(len(other_sentence(rng)) for _ in range(100))


def test_streams_see_as_their_settings_say(dataset: DatasetSettings, simulation: SimulationSettings) -> None:
    model = VideoModel(simulation, dataset, SPACE)
    features = model.features(video(query("A man walking", (10, 20))))
    assert {name: rows.shape for name, rows in features.items()} == {"moves": (30, 160), "looks": (30, 96)}
    assert (features["moves"] >= 0).all()
    assert 0.45 < (features["moves"] == 0).mean() < 0.75
    assert (features["looks"] < 0).mean() == pytest.approx(0.5, abs=0.1)


def auc(model: VideoModel, project: Projection, stream: str, count: int = 40) -> float:
    """Chance that a clip in a window fits its query better than one outside, for who knows the projection."""
    values = []
    for each in invented_queries(count, saliency=False):
        rows = model.features(Video(f"v{each.qid}", each.duration, int(each.duration / 2), 2.0, [each]))[stream]
        middles = 2 * np.arange(len(rows)) + 1
        inside = ((each.windows[:, :1] < middles) & (middles < each.windows[:, 1:])).any(0)
        if inside.all():
            continue
        scores = rows @ project(meaning(each.query)[:1])[0]
        values.append((scores[inside][:, None] > scores[~inside]).mean())
    return float(np.mean(values))


def test_moments_can_be_found_but_not_easily(simulation: SimulationSettings) -> None:
    dataset = resolve_dataset("qvhighlights", "simulated")
    settings = resolve_simulation("qvhighlights", "simulated")
    project = Projection(settings.seed, "video clip", 512)
    assert 0.65 < auc(VideoModel(settings, dataset, SPACE), project, "clip") < 0.95


@pytest.mark.parametrize(
    ("name", "easy", "hard"), [("clutter", 0.0, 6.0), ("noise", 0.0, 15.0), ("appearance", 0.0, 4.0)]
)
def test_every_strength_makes_it_harder(
    dataset: DatasetSettings, simulation: SimulationSettings, name: str, easy: float, hard: float
) -> None:
    project = Projection(simulation.seed, "video looks", 96)
    settings = simulation.model_copy(update={**CLEAR, "distractor_rate": 0.0})
    easier, harder = (
        auc(VideoModel(settings.model_copy(update={name: value}), dataset, SPACE), project, "looks", 20)
        for value in (easy, hard)
    )
    assert easier > 0.97
    assert harder < easier - 0.05
