"""VSLNet's fusion against its formulas written out, and what padding may do to it."""

import pytest
import torch

from sadetr.nn.context_query import ContextQueryAttention, PooledConcatenation
from tests.samples import agree

WIDTH = 8


@pytest.fixture
def inputs():
    torch.manual_seed(0)
    context, query = torch.randn(2, 5, WIDTH), torch.randn(2, 3, WIDTH)
    return context, query, torch.arange(5) < torch.tensor([[5], [3]]), torch.arange(3) < torch.tensor([[2], [3]])


def filled(module):
    """The module in evaluation, none of its parameters constant."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_()
    return module.eval()


def test_attention_is_its_formula(inputs):
    module = filled(ContextQueryAttention(WIDTH, 0.5))
    found = module(*inputs)
    for index, (context, query, rows, columns) in enumerate(zip(*inputs, strict=True)):
        clips, words = context[rows], query[columns]
        scores = clips @ module.context_weight + (words @ module.query_weight).T
        scores = scores + (clips[:, None] * words[None] * module.product_weight).sum(-1)
        over_words, over_clips = scores.softmax(1), scores.softmax(0)
        first, second = over_words @ words, over_words @ over_clips.T @ clips
        expected = module.out(torch.cat((clips, first, clips * first, clips * second), 1))
        agree(found[index][rows], expected)


def test_concatenation_is_its_formula(inputs):
    context, query, _, mask = inputs
    module = filled(PooledConcatenation(WIDTH))
    found = module(context, query, mask)
    for index, words in enumerate(query):
        valid = words[mask[index]]
        pooled = ((valid @ module.score).softmax(0) * valid).sum(0)
        rows = torch.cat((context[index], pooled.expand_as(context[index])), 1)
        agree(found[index], module.out(rows))


def test_dropout_touches_the_scores_alone(inputs):
    module = filled(ContextQueryAttention(WIDTH, 0.5)).train()
    context, query, rows, columns = inputs
    single = query[:, :1]
    # With one word all its weights are one, whatever the scores; those over the clips are used times zero.
    with torch.no_grad():
        module.out.weight[:, 3 * WIDTH :] = 0
    mask = torch.ones(2, 1, dtype=torch.bool)
    torch.manual_seed(1)
    assert torch.equal(module(context, single, rows, mask), module.eval()(context, single, rows, mask))
    module.train()
    assert not torch.equal(module(context, query, rows, columns), module.eval()(context, query, rows, columns))
