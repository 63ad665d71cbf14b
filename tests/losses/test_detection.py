"""Set loss with a class: matching by brute force, the label loss's own kind of mean."""

from itertools import permutations

import pytest
import torch

from sadetr.losses.alignment import query_text_contrast
from sadetr.losses.detection import (
    detection_terms,
    focal_label_loss,
    foreground_probability,
    label_loss,
    match_detections,
)
from sadetr.losses.settings import DetectionLoss, MatchingCosts
from sadetr.nn.spans import cw_to_se, generalised_iou
from tests.samples import agree, random_spans

COSTS = MatchingCosts(l1=3.0, giou=2.0, label=5.0)


@pytest.fixture
def case():
    generator = torch.Generator().manual_seed(3)
    spans = random_spans(generator, 2, 3, 4)
    logits = torch.randn(2, 3, 4, 2, generator=generator)
    truth = random_spans(generator, 3, 2)
    return spans, logits, truth, torch.tensor([[True, True], [True, False], [True, True]])


def test_matching_is_the_cheapest_of_all_assignments(case):
    spans, logits, truth, mask = case
    assigned = match_detections(spans, logits, truth, mask, COSTS)
    for stage in range(2):
        for sample in range(3):
            count = int(mask[sample].sum())

            def cost(queries, stage=stage, sample=sample):
                total = 0.0
                for window, query in enumerate(queries):
                    predicted, target = spans[stage, sample, query], truth[sample, window]
                    overlap = generalised_iou(cw_to_se(predicted), cw_to_se(target))
                    foreground = logits[stage, sample, query].softmax(-1)[0]
                    total += 3 * (predicted - target).abs().sum() - 2 * overlap - 5 * foreground
                return float(total)

            best = min(permutations(range(4), count), key=cost)
            assert tuple(assigned[stage, sample, :count].tolist()) == best


def test_label_loss_weighs_background_and_divides_by_all_queries(case):
    _, logits, _, mask = case
    assigned = torch.tensor([[[0, 1], [2, 0], [3, 1]], [[1, 0], [0, 0], [2, 3]]])
    expected = 0.0
    for stage in range(2):
        for sample in range(3):
            matched = {int(query) for query, real in zip(assigned[stage, sample], mask[sample], strict=True) if real}
            for query in range(4):
                kind, weight = (0, 1.0) if query in matched else (1, 0.1)
                expected -= weight * logits[stage, sample, query].log_softmax(-1)[kind] / 12
    agree(label_loss(logits, assigned, mask, 0.1), expected)


def test_focal_loss_takes_both_classes_as_binary_decisions(case):
    _, logits, _, mask = case
    assigned = torch.tensor([[[0, 1], [2, 0], [3, 1]], [[1, 0], [0, 0], [2, 3]]])
    expected = 0.0
    for stage in range(2):
        for sample in range(3):
            matched = {int(query) for query, real in zip(assigned[stage, sample], mask[sample], strict=True) if real}
            for query in range(4):
                right = 0 if query in matched else 1
                for kind, probability in enumerate(logits[stage, sample, query].sigmoid()):
                    share, p = (0.25, probability) if kind == right else (0.75, 1 - probability)
                    expected -= share * (1 - p) ** 2 * p.log() / 24
    agree(focal_label_loss(logits, assigned, mask), expected)


def test_focal_loss_forgets_what_is_learned_and_stays_finite(case):
    mask, assigned = case[3], torch.tensor([[[0, 1], [2, 0], [3, 1]]])
    sure = torch.full((1, 3, 4, 2), -200.0, requires_grad=True)
    loss = focal_label_loss(sure, assigned, mask)
    (gradient,) = torch.autograd.grad(loss, sure)
    assert loss.isfinite()
    assert gradient.isfinite().all()
    assert gradient[0, 0, 2, 0] == 0
    assert gradient[0, 0, 2, 1] < 0


def test_terms_are_weighted_and_add_up_over_stages(case):
    spans, logits, truth, mask = case
    assigned = match_detections(spans, logits, truth, mask, COSTS)
    weights = DetectionLoss(l1=2.0, giou=3.0, label=4.0)
    both = detection_terms(spans, logits, truth, mask, assigned, weights)
    unweighted = DetectionLoss(l1=1.0, giou=1.0, label=1.0)
    for name, factor in {"l1": 2, "giou": 3, "label": 4}.items():
        parts = [
            detection_terms(spans[i : i + 1], logits[i : i + 1], truth, mask, assigned[i : i + 1], unweighted)[name]
            for i in range(2)
        ]
        agree(both[name], factor * sum(parts))


def test_foreground_is_the_first_class():
    assert foreground_probability(torch.tensor([[9.0, 0.0], [0.0, 9.0]])).round().tolist() == [1, 0]


def test_query_text_contrast_counts_every_token_and_averages_positives():
    generator = torch.Generator().manual_seed(5)
    queries, text = torch.randn(1, 2, 3, 4, generator=generator), torch.randn(2, 5, 4, generator=generator)
    assigned, mask = torch.tensor([[[0, 2], [1, 0]]]), torch.tensor([[True, True], [True, False]])
    logits = torch.stack([(queries[0, b] @ text[b].T).sum(1) / 0.5 for b in range(2)])
    expected = torch.stack(
        (logits[0].logsumexp(0) - (logits[0, 0] + logits[0, 2]) / 2, logits[1].logsumexp(0) - logits[1, 1])
    ).mean()
    agree(query_text_contrast(queries, text, assigned, mask, 0.5), expected)
