"""What a training shows of itself: monitors, gradient norms, spread of spans, warnings; and that it costs no bit."""

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch import nn

from sadetr.models.interface import LossTerms
from sadetr.models.sa_detr.model import SADETR
from sadetr.training.diagnostics import (
    LEAST_SPREAD,
    PATIENCE,
    ObservedPredictions,
    StandstillWarnings,
    gradient_norms,
    span_spread,
)
from tests.training.conftest import digests


def history(run):
    return pq.read_table(run.path / "history.parquet").to_pydict()


def test_qualities_of_matched_and_other_queries_are_in_the_history(finished):
    rows = history(finished)
    for name in ("matched", "unmatched"):
        values = rows[f"monitor/quality_{name}"]
        assert all(0 < value < 1 for value in values)
    # Monitors are no loss terms.
    for epoch, loss in enumerate(rows["loss"]):
        assert loss == pytest.approx(sum(rows[name][epoch] for name in rows if name.startswith("loss/")))


def test_monitors_change_no_bit(workspace, finished, tmp_path, monkeypatch):
    objective = SADETR.objective
    monkeypatch.setattr(SADETR, "objective", lambda *arguments: dict(objective(*arguments)))
    run = workspace.train(tmp_path / "run")
    assert digests(run) == digests(finished)
    assert not any(name.startswith("monitor/") for name in history(run))


def test_monitors_are_means_over_batches(workspace, tmp_path, monkeypatch):
    objective, seen = SADETR.objective, []

    def numbered(*arguments):
        seen.append(float(len(seen)))
        return LossTerms(objective(*arguments), {"number": torch.tensor(seen[-1])})

    monkeypatch.setattr(SADETR, "objective", numbered)
    rows = history(workspace.train(tmp_path / "run", workspace.settings(epochs=2)))
    half = len(seen) // 2
    assert rows["monitor/number"] == pytest.approx([np.mean(seen[:half]), np.mean(seen[half:])])


def test_diagnostics_change_no_bit_and_fill_their_epochs(workspace, finished, tmp_path):
    run = workspace.train(tmp_path / "run", workspace.settings(diagnostics=2))
    assert digests(run) == digests(finished)
    rows, plain = history(run), history(finished)
    extra = rows.keys() - plain.keys()
    assert {"spread/batch", "spread/val", "gradient/total", "gradient/vtc/text_projection"} <= extra
    assert all(name.startswith(("spread/", "gradient/")) for name in extra)
    for name in extra:
        first, second, third = rows[name]
        assert (first, third) == (None, None)
        assert second >= 0
    for name in plain.keys() - {"seconds"}:
        assert rows[name] == plain[name]
    # A term reaches what it depends on, and nothing else.
    assert rows["gradient/vtc/text_projection"][1] > 0
    assert "gradient/vtc/refiner" not in rows
    assert rows["gradient/direct_l1/refiner"][1] > 0


def test_gradient_norms_by_hand():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.left, self.right = nn.Linear(2, 1), nn.Linear(2, 1, bias=False)
            self.own = nn.Parameter(torch.tensor(3.0))
            self.frozen = nn.Parameter(torch.tensor(1.0), requires_grad=False)

    module, x = Two(), torch.tensor([3.0, 4.0])
    terms = {"a": 2 * module.left(x).sum() * module.frozen, "b": module.right(x).sum() * module.own}
    terms["constant"] = torch.tensor(1.0)
    norms = gradient_norms(terms, module)
    # d/dw = 2 x, d/db = 2.
    assert norms["gradient/a/left"] == pytest.approx((4 * 25 + 4) ** 0.5)
    assert norms["gradient/b/right"] == pytest.approx(3 * 5)
    assert norms["gradient/b/own"] == pytest.approx(module.right(x).item() if module.right(x) > 0 else -module.right(x))
    assert norms.keys() == {"gradient/a/left", "gradient/b/right", "gradient/b/own"}
    assert all(parameter.grad is None for parameter in module.parameters())
    # The graph is still there.
    sum(terms.values()).backward()
    assert module.left.weight.grad is not None


def test_spread_is_between_samples_not_between_queries():
    constant = np.broadcast_to(np.random.default_rng(0).random((1, 10, 2)), (6, 10, 2))
    assert span_spread(constant) == pytest.approx(0, abs=1e-12)
    moving = constant.copy()
    moving[:3, :, 0] += 0.2
    # Half the samples 0.1 to either side in one of two coordinates.
    assert span_spread(moving) == pytest.approx(0.05)
    assert span_spread(constant[:1]) is None


def observed(spread, score):
    predictions = ObservedPredictions()
    spans = np.full((4, 10, 2), 0.5)
    spans[:2] += 2 * spread
    scores = np.zeros((4, 10))
    scores[:, 3] = score
    for half in (slice(0, 2), slice(2, 4)):
        predictions(spans[half], scores[half])
    return predictions


def test_batches_of_different_numbers_of_candidates_are_observed_together():
    predictions, rng = ObservedPredictions(), np.random.default_rng(0)
    short, long = rng.random((3, 4, 2)), rng.random((2, 6, 2))
    predictions(short, np.array([[0.2, 0.1, -np.inf, -np.inf]] * 3))
    predictions(long, np.full((2, 6), 0.7))
    assert predictions.spread() == span_spread(np.concatenate((short, long[:, :4])))
    assert predictions.best_score() == pytest.approx((3 * 0.2 + 2 * 0.7) / 5)


def test_a_standstill_is_said_once_after_some_validations():
    warnings, stuck, fine = StandstillWarnings(), observed(LEAST_SPREAD / 2, 0.5), observed(0.1, 0.5)
    said = [warnings.after("val", stuck, last=False) for _ in range(PATIENCE + 2)]
    assert [len(texts) for texts in said] == [0] * (PATIENCE - 1) + [1, 0, 0]
    (text,) = said[PATIENCE - 1]
    assert "val differ by 0.0050 of the video between queries" in text
    assert "hardly depend on the input" in text
    assert "training.diagnostics" in text
    # It moves again: the count starts anew.
    assert warnings.after("val", fine, last=False) == []
    assert warnings.after("val", stuck, last=False) == []
    assert len(warnings.after("val", stuck, last=True)) == 1


def test_scores_at_0_are_said_too():
    warnings = StandstillWarnings()
    (text,) = warnings.after("test", observed(0.1, 0.004), last=True)
    assert "scores predicted on test stay at 0 (the best of a query is 0.0040 on average)" in text
    assert StandstillWarnings().after("test", observed(0.1, 0.3), last=True) == []


def test_a_network_that_ignores_its_input_is_reported_in_the_log(workspace, tmp_path, capsys, monkeypatch):
    forward = SADETR.forward

    def ignorant(self, batch, step=None):
        output = forward(self, batch, step)
        if step is None:
            output.spans.fill_(0.5)
            output.scores.zero_()
        return output

    monkeypatch.setattr(SADETR, "forward", ignorant)
    workspace.train(tmp_path / "run", workspace.settings(epochs=6))
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning: ")]
    assert [line.split(":")[1] for line in lines] == [" epoch 5", " epoch 5"]
    assert "hardly depend on the input" in lines[0]
    assert "stay at 0" in lines[1]
