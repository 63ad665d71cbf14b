"""Tests of contrasts against full enumeration, scipy and the definitions."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ttest_rel

from sadetr.evaluation.significance import Contributions, paired_permutation_test
from sadetr.reporting.paired import Evidence, conjunction, holm, queries_p, seeds_p, spread_p


def exact(contrasts):
    """Share of all assignments of signs whose sum is at least as far from 0."""
    signs = np.array(list(itertools.product((1, -1), repeat=len(contrasts))))
    return (np.abs(signs @ contrasts) >= abs(contrasts.sum()) - 1e-9).mean()


@settings(max_examples=60)
@given(st.lists(st.sampled_from([-100.0, 0.0, 100.0]), min_size=1, max_size=12))
def test_few_differing_hits_are_tested_as_all_assignments_of_signs_say(hits):
    assert queries_p(np.array(hits)) == pytest.approx(exact(np.array(hits)), abs=0.025)


def test_sizes_are_tested_as_all_assignments_of_signs_say():
    rng = np.random.default_rng(3)
    for _ in range(20):
        contrasts = rng.normal(0.5, 1.0, 14)
        assert queries_p(contrasts) == pytest.approx(exact(contrasts), abs=0.05)


def test_it_is_the_limit_of_the_permutation_test():
    rng = np.random.default_rng(0)
    values = np.stack([100.0 * (rng.random((2, 400)) < 0.55), 100.0 * rng.random((2, 400))], axis=-1)
    values[0] += [[0.0, 4.0]] * 400
    first, second = (Contributions(["hit", "ap"], part, np.ones_like(part, bool)) for part in values)
    found = paired_permutation_test(first, second, seed=1)
    for column, name in enumerate(("hit", "ap")):
        p = queries_p(values[0, :, column] - values[1, :, column])
        assert p == pytest.approx(found[name].p, abs=0.015)


def test_equal_predictions_do_not_differ():
    assert queries_p(np.zeros(5)) == queries_p(np.zeros(0)) == 1


def test_seeds_are_paired():
    first, second = np.array([60.1, 61.5, 59.0, 60.4]), np.array([59.0, 60.9, 58.5, 59.8])
    assert seeds_p(list(first - second)) == pytest.approx(ttest_rel(first, second).pvalue)


@pytest.mark.parametrize("contrasts", [[], [1.0, 2.0], [1.0, 1.0, 1.0]])
def test_too_few_seeds_or_none_that_vary_are_no_test(contrasts):
    assert seeds_p(contrasts) is None


def test_a_known_spread_is_a_normal_one():
    assert spread_p(-1.959964, 1.0) == pytest.approx(0.05, abs=1e-6)
    assert spread_p(0.0, 1.0) == 1


def parts(*pairs):
    return [Evidence(difference, "spread", p) for difference, p in pairs]


@pytest.mark.parametrize(
    ("evidence", "supported", "p", "deciding"),
    [
        (parts((2.0, 0.01)), True, 0.01, 0),
        (parts((-2.0, 0.01)), False, 0.01, 0),
        (parts((0.0, 1.0)), True, 1.0, 0),
        (parts((2.0, 0.01), (1.0, 0.03), (5.0, 0.001)), True, 0.03, 1),  # every one has to be shown
        (parts((2.0, 0.01), (-0.1, 0.9)), True, 1.0, 1),  # not shown, nor its opposite
        (parts((2.0, 0.01), (-1.0, 0.02)), False, 0.04, 1),  # one of two
        (parts((-1.0, 0.02), (-2.0, 0.01), (3.0, 0.01)), False, 0.03, 1),
    ],
)
def test_a_conjunction_needs_all_and_falls_by_one(evidence, supported, p, deciding):
    found = conjunction(evidence)
    assert (found.supported, found.deciding) == (supported, deciding)
    assert found.p == pytest.approx(p)


@settings(max_examples=60)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_holm_is_closed_testing_with_bonferroni(ps):
    expected = []
    for index in range(len(ps)):
        subsets = itertools.product((False, True), repeat=len(ps))
        chosen = [[p for p, inside in zip(ps, subset, strict=True) if inside] for subset in subsets if subset[index]]
        expected.append(max(min(1.0, len(subset) * min(subset)) for subset in chosen))
    assert holm(ps) == pytest.approx(expected)
