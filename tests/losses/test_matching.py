"""Matching: optimal, independent per sample and stage, blind to padding."""

from itertools import permutations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from sadetr.errors import SettingsError
from sadetr.losses.matching import match, match_what_fits, take
from sadetr.nn.spans import cw_to_se, generalised_iou
from tests.samples import random_spans

L1, GIOU = 10.0, 1.0


def cost(query, target):
    distance = (query - target).abs().sum(-1)
    return L1 * distance - GIOU * generalised_iou(cw_to_se(query), cw_to_se(target))


def costs(spans, truth):
    """Costs of all pairs as nested lists, [query][slot]."""
    return [[cost(query, target).item() for target in truth] for query in spans]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.lists(st.integers(1, 5), min_size=1, max_size=3), st.booleans())
def test_matching_equals_brute_force(seed, counts, doubled):
    generator = torch.Generator().manual_seed(seed)
    spans = random_spans(generator, 2, len(counts), 5)
    if doubled:
        spans[:, :, 1] = spans[:, :, 0]
    slots = max(counts)
    mask = torch.arange(slots) < torch.tensor(counts)[:, None]
    truth = random_spans(generator, len(counts), slots) * mask[..., None]
    assigned = match(spans, truth, mask, L1, GIOU)
    assert assigned.shape == (2, len(counts), slots)
    for stage in range(2):
        for sample, count in enumerate(counts):
            chosen = assigned[stage, sample, :count].tolist()
            assert len(set(chosen)) == count
            pairs = costs(spans[stage, sample], truth[sample, :count])
            totals = [
                sum(pairs[query][slot] for slot, query in enumerate(queries))
                for queries in (chosen, *permutations(range(5), count))
            ]
            assert totals[0] == pytest.approx(min(totals), abs=1e-4)
            assert not assigned[stage, sample, count:].any()


@pytest.mark.parametrize("count", [3, 6, 20])
def test_many_windows_are_matched_as_few_are(count):
    """As many as the setting allows: beyond five another way leads to them, and beyond sixteen scipy's."""
    generator = torch.Generator().manual_seed(count)
    spans, truth = random_spans(generator, 2, 3, 24), random_spans(generator, 3, count)
    mask = torch.arange(count) < torch.tensor([[count], [count // 2], [1]])
    assigned = match(spans, truth, mask, L1, GIOU)
    for stage in range(2):
        for sample, valid in enumerate(mask.sum(1).tolist()):
            pairs = torch.tensor(costs(spans[stage, sample], truth[sample, :valid]))
            query, window = linear_sum_assignment(pairs)
            assert assigned[stage, sample, window].tolist() == query.tolist()
            assert not assigned[stage, sample, valid:].any()


@pytest.mark.parametrize("slots", [3, 6, 30])
def test_as_many_pairs_as_fit_are_those_of_scipy(slots):
    """More valid spans than queries or fewer, however dear; far ones cost any two the same."""
    generator = torch.Generator().manual_seed(slots)
    spans, truth = random_spans(generator, 40, 6), random_spans(generator, 40, slots)
    mask = torch.arange(slots) < torch.randint(0, slots + 1, (40, 1), generator=generator)
    truth[::2] += 50 * torch.randn(20, slots, 1, generator=generator)
    assigned, matched = match_what_fits(spans, truth, mask, L1, GIOU)
    assert not (matched & ~mask).any()
    assert not assigned[~matched].any()
    for sample in range(40):
        pairs = torch.tensor(costs(spans[sample], truth[sample]))
        chosen, valid = pairs[assigned[sample], torch.arange(slots)][matched[sample]], pairs[:, mask[sample]]
        assert len(chosen) == min(6, mask[sample].sum())
        assert len(set(assigned[sample, matched[sample]].tolist())) == len(chosen)
        assert chosen.sum().item() == pytest.approx(valid[linear_sum_assignment(valid)].sum().item(), rel=1e-6)


def test_permuted_ground_truth_is_found_again():
    truth = random_spans(torch.Generator().manual_seed(0), 3, 5)
    order = torch.stack([torch.randperm(5) for _ in range(3)])
    spans = truth.gather(1, order[..., None].expand(-1, -1, 2))[None]
    assigned = match(spans, truth, torch.ones(3, 5, dtype=torch.bool), L1, GIOU)
    assert torch.equal(take(spans, assigned)[0], truth)


def test_equal_ground_truth_gets_distinct_queries():
    truth = torch.tensor([[[0.5, 0.2], [0.5, 0.2]]])
    spans = torch.tensor([[[[0.5, 0.2], [0.1, 0.1], [0.5, 0.21]]]])
    assigned = match(spans, truth, torch.ones(1, 2, dtype=torch.bool), L1, GIOU)
    assert sorted(assigned[0, 0].tolist()) == [0, 2]


def test_padded_windows_do_not_matter():
    generator = torch.Generator().manual_seed(1)
    spans, truth = random_spans(generator, 1, 2, 6), random_spans(generator, 2, 4)
    mask = torch.tensor([[True, True, False, False], [True, False, False, False]])
    before = match(spans, truth, mask, L1, GIOU)
    truth[~mask] = 77.0
    assert torch.equal(match(spans, truth, mask, L1, GIOU), before)


def test_diverged_predictions_are_matched_to_something():
    # The training loop reports a loss that is no number; the matcher must let it get there.
    spans = torch.full((1, 1, 4, 2), torch.nan)
    truth = random_spans(torch.Generator().manual_seed(0), 1, 2)
    assigned = match(spans, truth, torch.ones(1, 2, dtype=torch.bool), L1, GIOU)
    assert len(set(assigned.flatten().tolist())) == 2


def test_more_windows_than_queries_are_refused():
    generator = torch.Generator().manual_seed(0)
    spans, truth = random_spans(generator, 1, 1, 2), random_spans(generator, 1, 3)
    mask = torch.ones(1, 3, dtype=torch.bool)
    with pytest.raises(SettingsError, match="num_moment_queries"):
        match(spans, truth, mask, L1, GIOU)
    assert match(spans, truth, mask & (torch.arange(3) < 2), L1, GIOU)[0, 0, :2].sort().values.tolist() == [0, 1]


def test_matching_passes_no_gradient():
    spans = random_spans(torch.Generator().manual_seed(0), 1, 1, 3).requires_grad_()
    mask = torch.ones(1, 1, dtype=torch.bool)
    assigned = match(spans, spans[0, :, :1], mask, L1, GIOU)
    assert not assigned.requires_grad
    # It is computed in inference mode, whose tensors autograd could not save.
    for found in (assigned, *match_what_fits(spans[0], spans[0, :, :1], mask, L1, GIOU)):
        assert not found.is_inference()


@pytest.mark.parametrize("rest", [(), (2,), (3, 2)])
def test_take_picks_the_assigned_queries(rest):
    values = torch.randn(2, 3, 5, *rest)
    assigned = torch.randint(0, 5, (2, 3, 4))
    taken = take(values, assigned)
    assert taken.shape == (2, 3, 4, *rest)
    for stage, sample, slot in torch.cartesian_prod(torch.arange(2), torch.arange(3), torch.arange(4)).tolist():
        assert torch.equal(taken[stage, sample, slot], values[stage, sample, assigned[stage, sample, slot]])
