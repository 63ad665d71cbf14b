"""Predictions of a split, made for many queries at once, beside a form that looks at one number at a time."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sadetr.configuration import resolve
from sadetr.data.batches import Split
from sadetr.data.query import Query
from sadetr.evaluation.moment_retrieval import FULL
from sadetr.evaluation.predictions import read_predictions, write_predictions
from sadetr.evaluation.scorer import evaluate, metrics_of
from sadetr.models.interface import Output
from sadetr.training import prediction
from sadetr.training import run as run_module
from sadetr.training.loop import ground_truth
from sadetr.training.prediction import predict
from tests.evaluation import reference
from tests.evaluation.test_ranking import one_by_one
from tests.training.conftest import provenance
from tests.training.test_training import Interrupted, assert_same_run, interrupt

CPU = torch.device("cpu")
QUERIES = 23
METHODS = ("sa_detr", "moment_detr", "bam_detr", "univtg", "two_d_tan")
"""Every kind of ranking; the last two predict a window from every clip, or from many pairs of them."""


def combinations():
    names = ("qvhighlights", "charades_sta", "charades_sta_vgg", "tacos")
    return [(setting, method) for setting in names for method in METHODS]


class Rows:
    """A batch that says which rows it holds, and nothing else."""

    def __init__(self, rows, lengths):
        self.rows, self.clips = rows, int(lengths.max())

    def to(self, device):
        return self


class SplitOfRows:
    """A split without features."""

    by_length = Split.by_length

    def __init__(self, queries, lengths, dataset):
        self.queries, self.lengths, self.dataset = queries, lengths, dataset

    def prediction_batches(self, batch_size, order):
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            yield Rows(rows, self.lengths[rows])


class Told(nn.Module):
    """A network that says what it was told, in the same memory every time, as a captured graph does."""

    def __init__(self, spans, scores, saliency, lengths, per_clip=False):
        super().__init__()
        self.values, self.lengths, self.per_clip, self.memory = (spans, scores, saliency), lengths, per_clip, {}

    def forward(self, batch):
        widths = [batch.clips if self.per_clip else None] * 2 + [batch.clips]
        values = [value[batch.rows, :width].clone() for value, width in zip(self.values, widths, strict=True)]
        padding = torch.arange(batch.clips) >= torch.from_numpy(self.lengths[batch.rows])[:, None]
        if self.per_clip:
            values[1][padding] = -torch.inf
        # What stands behind the video's end is nobody's business.
        values[2][padding] = 1e9
        for index, value in enumerate(values):
            memory = self.memory.setdefault((index, value.shape), torch.empty_like(value))
            memory.copy_(value)
            values[index] = memory
        return Output(*values)


def made(setting, method, dtype=torch.float32, count=QUERIES):
    """A split of random queries with random predictions, its settings, and what the network is told."""
    resolved = resolve(setting, method, "full", 0, "paper")
    dataset, rng = resolved.dataset, np.random.default_rng(len(setting + method))
    per_clip = method in ("univtg", "two_d_tan")
    lengths = rng.integers(3, 30, count)
    queries = []
    for number, length in enumerate(lengths.tolist()):
        duration = length * dataset.clip_length + rng.choice([0.0, 0.3 * dataset.clip_length])
        ends = np.sort(rng.choice(length + 1, 2 * rng.integers(1, 3), replace=False))
        ends = ends.reshape(-1, 2)
        clips = np.concatenate([np.arange(*pair) for pair in ends])
        saliency = rng.integers(0, 5, (len(clips), 3))
        queries.append(Query(number, "q", f"v{number}", duration, ends * dataset.clip_length, clips, saliency))
    # Equal scores, and spans that leave their video on both sides.
    candidates = int(lengths.max()) if per_clip else 10
    spans = torch.from_numpy(rng.random((count, candidates, 2)) * [1.0, 0.7]).to(dtype)
    scores = torch.from_numpy(rng.random((count, candidates)).round(2 if number % 2 else 6)).to(dtype)
    saliency = torch.from_numpy(rng.normal(size=(count, int(lengths.max()))).round(3)).to(dtype)
    network = Told(spans, scores, saliency, lengths, per_clip).train()
    return SplitOfRows(queries, lengths, dataset), network, resolved


def rounded(value):
    return float(np.round(value, 4)) + 0.0


def plain_row(network, split, index, ranking):
    """What is written of one query."""
    query, rules = split.queries[index], split.dataset.postprocess
    spans, scores, saliency = (value[index].float().tolist() for value in network.values)
    length = int(split.lengths[index])
    windows = []
    for place in sorted(range(length if network.per_clip else len(scores)), key=lambda place: -scores[place]):
        centre, width = spans[place]
        window = []
        for end in ((centre - width / 2) * query.duration, (centre + width / 2) * query.duration):
            second = max(0.0, min(end, query.duration) if ranking.clamp_to_duration else end)
            second = rounded(second)
            if rules.clamp is not None:
                second = min(max(second, rules.clamp[0]), rules.clamp[1])
            if rules.round_to is not None:
                second = float(np.round(second / rules.round_to) * rules.round_to)
            window.append(second)
        windows.append([*window, rounded(scores[place])])
    if ranking.kind != "score":
        windows = [[rounded(number) for number in window] for window in one_by_one(windows, ranking)]
    return {
        "qid": query.qid,
        "query": query.query,
        "vid": query.vid,
        "pred_relevant_windows": windows[: ranking.kept],
        "pred_saliency_scores": [round(score, 4) for score in saliency[:length]],
    }


@pytest.mark.parametrize(("setting", "method"), combinations())
def test_every_number_is_what_one_query_alone_gives(setting, method, monkeypatch):
    split, network, resolved = made(setting, method)
    ranking = resolved.training.ranking
    expected = [plain_row(network, split, index, ranking) for index in range(QUERIES)]
    assert predict(network, split, 4, CPU, ranking=ranking).rows(split.queries) == expected
    assert network.training
    # However many are fetched and ranked together.
    for most in (1, 2000):
        monkeypatch.setattr(prediction, "MOST_NUMBERS", most)
        assert predict(network, split, 5, CPU, ranking=ranking).rows(split.queries) == expected


@pytest.mark.parametrize("setting", ["qvhighlights", "charades_sta", "charades_sta_vgg", "tacos"])
def test_validation_scores_what_the_written_file_scores(setting, tmp_path):
    """To the last digit, for labels of all queries, of some and of none."""
    split, network, _ = made(setting, "sa_detr")
    dataset = split.dataset
    arrays = predict(network, split, 4, CPU)
    write_predictions(tmp_path / "rows.jsonl", arrays.rows(split.queries))
    rows = read_predictions(tmp_path / "rows.jsonl", split.queries, dataset.highlights)
    metrics = metrics_of(ground_truth(split.queries, dataset).score(arrays))
    plain = reference.evaluate(rows, split.queries, dataset.highlights, dataset.clip_length)
    assert metrics == {name: value for name, value in plain.items() if "/" not in name}
    assert 0 < metrics["mAP"] < 100
    for hidden in (range(0, QUERIES, 3), range(QUERIES)):
        queries = [
            replace(query, windows=None, saliency=None) if index in hidden else query
            for index, query in enumerate(split.queries)
        ]
        found = ground_truth(queries, dataset).score(arrays)
        assert found.moments.keys() == {FULL}
        expected = evaluate(rows, queries, highlights=dataset.highlights, clip_length=dataset.clip_length)
        assert metrics_of(found) == {name: value for name, value in expected.items() if "/" not in name}


def test_half_precision_is_read_as_what_it_is():
    split, network, _ = made("qvhighlights", "sa_detr", torch.bfloat16)
    expected = [plain_row(network, split, index, prediction.AS_SCORED) for index in range(QUERIES)]
    assert predict(network, split, 4, CPU).rows(split.queries) == expected


def test_an_observer_sees_the_numbers_of_the_network():
    split, network, _ = made("qvhighlights", "univtg")
    seen = []
    predict(network, split, 4, CPU, lambda spans, scores: seen.append((spans, scores)))
    order = split.by_length()
    assert [len(spans) for spans, _ in seen] == [4, 4, 4, 4, 4, 3]
    for start, (spans, scores) in zip(range(0, QUERIES, 4), seen, strict=True):
        rows = order[start : start + 4]
        np.testing.assert_array_equal(spans, network.values[0][rows, : spans.shape[1]])
        there = np.arange(scores.shape[1]) < split.lengths[rows][:, None]
        np.testing.assert_array_equal(scores, np.where(there, network.values[1][rows, : scores.shape[1]], -np.inf))


@settings(max_examples=200)
@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_saliency_is_rounded_as_python_rounds(scores):
    """In every digit that a file has, the sign of nothing included."""
    dataset = resolve("qvhighlights", "sa_detr", "full", 0, "paper").dataset
    split = SplitOfRows([Query(0, "q", "v", 10.0, None, None, None)], np.array([len(scores)]), dataset)
    values = torch.tensor(scores, dtype=torch.float32)[None]
    network = Told(torch.rand(1, 2, 2), torch.rand(1, 2), values, split.lengths)
    (row,) = predict(network, split, 1, CPU).rows(split.queries)
    assert json.dumps(row["pred_saliency_scores"]) == json.dumps([round(float(score), 4) for score in scores])


def test_no_query_has_no_prediction():
    dataset = resolve("tacos", "sa_detr", "full", 0, "paper").dataset
    split = SplitOfRows([], np.array([], dtype=np.int64), dataset)
    assert predict(nn.Identity(), split, 4, CPU).rows([]) == []


def test_a_finished_run_predicts_nothing_that_its_validations_predicted(workspace, finished, tmp_path, monkeypatch):
    """The reported split that checkpoints are not selected on, once per epoch that is kept."""
    made, kept = [], set(provenance(finished)["epochs"].values())

    def counted(model, split, *arguments, **named):
        made.append([query.qid for query in split.queries])
        return predict(model, split, *arguments, **named)

    monkeypatch.setattr(run_module, "predict", counted)
    run = workspace.train(tmp_path / "run")
    assert made == [[query.qid for query in workspace.split("test").queries]] * len(kept)
    assert_same_run(run, finished)
    # After an interruption none is there any more, and all are the same.
    with monkeypatch.context() as patch:
        interrupt(patch, run_module, "_finish", 1)
        with pytest.raises(Interrupted):
            workspace.train(tmp_path / "interrupted")
    made.clear()
    assert_same_run(workspace.train(tmp_path / "interrupted"), finished)
    assert len(made) == 2 * len(kept)
