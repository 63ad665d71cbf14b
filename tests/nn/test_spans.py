"""Spans: conversions, IoU, generalised IoU, logits."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sadetr.nn.spans import cw_to_se, generalised_iou, inverse_sigmoid, iou, se_to_cw

# Lengths below the smallest normal number lose digits in a division; no span has one.
PLACE = st.floats(0, 1, width=32, allow_subnormal=False)
ENDS = st.tuples(PLACE, PLACE).map(sorted)


def span(ends):
    return torch.tensor(ends, dtype=torch.float64)


@given(ENDS)
def test_conversions_are_inverse(ends):
    torch.testing.assert_close(cw_to_se(se_to_cw(span(ends))), span(ends))


@given(ENDS, ENDS)
def test_generalised_iou_by_lengths(first, second):
    (a, b), (c, d) = first, second
    inter = max(0.0, min(b, d) - max(a, c))
    union, hull = (b - a) + (d - c) - inter, max(b, d) - min(a, c)
    overlap, general = iou(span(first), span(second)).item(), generalised_iou(span(first), span(second)).item()
    assert overlap == pytest.approx(inter / union if union > 1e-30 else 0, abs=1e-9)
    if hull > 1e-30:
        assert general == pytest.approx(overlap - (hull - union) / hull, abs=1e-9)
    if inter > 0:
        # In one dimension the hull of overlapping spans is their union.
        assert general == pytest.approx(overlap, abs=1e-9)
    assert -1 <= general <= 1
    assert general == pytest.approx(generalised_iou(span(second), span(first)).item(), abs=1e-12)


def test_spans_apart_by_hand():
    first, second = torch.tensor([0.0, 0.2]), torch.tensor([0.6, 0.8])
    assert iou(first, second) == 0
    assert generalised_iou(first, second).item() == pytest.approx(-0.5)


def test_empty_spans_have_finite_values_and_gradients():
    empty = torch.tensor([[0.3, 0.3]], requires_grad=True)
    for value in (iou(empty, empty), generalised_iou(empty, empty)):
        assert value.isfinite().all()
    generalised_iou(empty, torch.tensor([[0.3, 0.3]])).sum().backward()
    assert empty.grad.isfinite().all()


def test_inverse_sigmoid():
    x = torch.tensor([0.2, 0.5, 0.9])
    torch.testing.assert_close(inverse_sigmoid(x).sigmoid(), x)
    edges = inverse_sigmoid(torch.tensor([-1.0, 0.0, 1.0, 2.0]))
    torch.testing.assert_close(edges, torch.tensor([1e-3, 1e-3, 1e3, 1e3]).log())
