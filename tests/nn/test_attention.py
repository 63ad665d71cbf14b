"""Attention against torch's own, and what masks promise."""

import pytest
import torch
from torch import nn

from sadetr.nn.attention import (
    CrossAttentionLayer,
    EncoderLayer,
    MultiHeadAttention,
    attend,
    dropped_softmax,
    merge_heads,
    split_heads,
    visibility_bias,
)
from sadetr.nn.layers import AttentionPooling, WeightedPooling, masked_mean, xavier_matrices
from sadetr.nn.stochastic import Dropout
from tests.nn.keeping import bytes_kept


def test_heads_are_split_and_merged_without_mixing():
    x = torch.arange(2 * 3 * 8.0).view(2, 3, 8)
    split = split_heads(x, 4)
    assert split.shape == (2, 4, 3, 2)
    assert torch.equal(split[1, 2, 0], x[1, 0, 4:6])
    assert torch.equal(merge_heads(split), x)


def test_attention_equals_torch():
    torch.manual_seed(0)
    ours, theirs = MultiHeadAttention(16, 4, 0.0), nn.MultiheadAttention(16, 4, batch_first=True)
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.normal_()
        theirs.in_proj_weight.copy_(ours.in_weight)
        theirs.in_proj_bias.copy_(ours.in_bias)
        theirs.out_proj.load_state_dict(ours.out.state_dict())
    query, key, value = torch.randn(2, 5, 16), torch.randn(2, 7, 16), torch.randn(2, 7, 16)
    mask = torch.arange(7) < torch.tensor([[7], [3]])
    expected, _ = theirs(query, key, value, key_padding_mask=~mask)
    torch.testing.assert_close(ours(query, key, value, mask), expected, rtol=1e-5, atol=1e-5)


def test_attention_starts_as_torch_does():
    torch.manual_seed(0)
    ours = MultiHeadAttention(64, 4, 0.0)
    bound = (6 / (4 * 64)) ** 0.5
    assert bound * 0.99 < ours.in_weight.abs().max() <= bound
    assert not ours.in_bias.any()
    assert not ours.out.bias.any()


def test_attend_gradients():
    torch.manual_seed(0)
    query, key, value = (torch.randn(1, 2, length, 3, dtype=torch.float64, requires_grad=True) for length in (2, 4, 4))
    bias = visibility_bias(torch.tensor([True, True, False, True]), torch.float64)
    assert torch.autograd.gradcheck(lambda *inputs: attend(*inputs, bias, nn.Identity()), (query, key, value))


def test_a_hidden_key_has_no_influence_at_all():
    torch.manual_seed(0)
    query, key, value = (torch.randn(1, 2, 4, 3) for _ in range(3))
    mask = torch.tensor([True, False, True, True])
    bias = visibility_bias(mask)
    before = attend(query, key, value, bias, nn.Identity())
    key[:, :, 1], value[:, :, 1] = 1e4, -1e4
    assert torch.equal(attend(query, key, value, bias, nn.Identity()), before)


def test_attention_dropout_acts_on_the_weights():
    torch.manual_seed(0)
    query, key, value = (torch.randn(1, 1, 3, 4) for _ in range(3))
    assert not attend(query, key, value, None, nn.Dropout(1.0)).any()


def test_cross_attention_layer_is_the_hybrid_of_qd_detr():
    # x1 = x + attention; x2 = x1 + FFN(LN1(x1)); LN2(x2): the second residual is x1, not its norm.
    torch.manual_seed(0)
    layer = CrossAttentionLayer(16, 4, 24, 0.0).eval()
    x, position, context = torch.randn(2, 3, 16), torch.randn(2, 3, 16), torch.randn(2, 5, 16)
    mask = torch.arange(5) < torch.tensor([[5], [2]])
    x1 = x + layer.attention(x + position, context, context, mask)
    expected = layer.norm2(x1 + layer.feedforward(layer.norm1(x1)))
    torch.testing.assert_close(layer(x, position, context, mask), expected)


def test_encoder_layer_is_torchs_post_norm_layer_with_positions():
    torch.manual_seed(0)
    layer = EncoderLayer(16, 4, 24, 0.0).eval()
    theirs = nn.TransformerEncoderLayer(16, 4, 24, 0.0, batch_first=True, activation=layer.feedforward[1]).eval()
    with torch.no_grad():
        theirs.self_attn.in_proj_weight.copy_(layer.attention.in_weight)
        theirs.self_attn.in_proj_bias.copy_(layer.attention.in_bias)
        for target, source in (
            (theirs.self_attn.out_proj, layer.attention.out),
            (theirs.linear1, layer.feedforward[0]),
            (theirs.linear2, layer.feedforward[3]),
            (theirs.norm1, layer.norm1),
            (theirs.norm2, layer.norm2),
        ):
            target.load_state_dict(source.state_dict())
    x = torch.randn(2, 5, 16)
    mask = torch.arange(5) < torch.tensor([[5], [2]])
    expected = theirs(x, src_key_padding_mask=~mask)
    ours = layer(x, torch.zeros_like(x), mask)
    torch.testing.assert_close(ours[mask], expected[mask], rtol=1e-5, atol=1e-5)
    # Positions reach queries and keys, not values.
    position = torch.randn(2, 5, 16)
    placed = x + position
    x1 = layer.norm1(x + layer.attention(placed, placed, x, mask))
    torch.testing.assert_close(layer(x, position, mask), layer.norm2(x1 + layer.feedforward(x1)))


def test_pooling_weights_valid_tokens_by_the_softmax_of_their_scores():
    torch.manual_seed(0)
    pooling = AttentionPooling(8)
    tokens, mask = torch.randn(2, 4, 8), torch.tensor([[True] * 4, [True, True, False, False]])
    scores = pooling.score(tokens[1, :2]).softmax(0)
    torch.testing.assert_close(pooling(tokens, mask)[1], (scores * tokens[1, :2]).sum(0))
    spoiled = torch.where(mask[..., None], tokens, torch.full_like(tokens, 1e3))
    assert torch.equal(pooling(spoiled, mask), pooling(tokens, mask))


def test_the_column_of_scores_pools_like_the_row():
    row, column = AttentionPooling(8), WeightedPooling(8)
    with torch.no_grad():
        row.score.weight.copy_(column.weight.T)
    tokens, mask = torch.randn(2, 4, 8), torch.tensor([[True] * 4, [True, True, False, False]])
    torch.testing.assert_close(column(tokens, mask), row(tokens, mask))


def test_masked_mean_is_the_mean_of_the_valid_rows():
    x, mask = torch.randn(2, 4, 8), torch.tensor([[True] * 4, [True, False, False, False]])
    torch.testing.assert_close(masked_mean(x, mask), torch.stack((x[0].mean(0), x[1, 0])))


def test_xavier_touches_matrices_only():
    layer = CrossAttentionLayer(16, 4, 24, 0.0)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.fill_(9.0)
    xavier_matrices(layer)
    for name, parameter in layer.state_dict().items():
        if parameter.dim() > 1:
            bound = (6 / sum(parameter.shape)) ** 0.5
            assert parameter.abs().max() <= bound, name
            assert parameter.std().item() == pytest.approx(bound / 3**0.5, rel=0.15), name
        else:
            assert parameter.eq(9).all(), name


@pytest.mark.parametrize("hidden", [False, True], ids=["all visible", "some hidden"])
def test_dropped_softmax_is_dropout_behind_softmax(hidden):
    torch.manual_seed(0)
    logits, dropout = torch.randn(2, 3, 5, 7, dtype=torch.float64), Dropout(0.4).train()
    if hidden:
        logits[..., 4:] = -torch.inf
    weights = torch.randn_like(logits)
    results = []
    for forward in (lambda x: dropped_softmax(x, dropout), lambda x: dropout(x.softmax(-1))):
        torch.manual_seed(1)
        leaf = logits.clone().requires_grad_()
        values = forward(leaf)
        (values * weights).sum().backward()
        results.append((values.detach(), leaf.grad))
    for mine, reference in zip(*results, strict=True):
        torch.testing.assert_close(mine, reference, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("hidden", [False, True], ids=["all visible", "some hidden"])
def test_attending_with_dropout_mixes_by_dropped_weights(hidden):
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, 3, n, 4, dtype=torch.float64, requires_grad=True) for n in (5, 7, 7))
    bias = visibility_bias(torch.arange(7) < 4, torch.float64) if hidden else None
    dropout = Dropout(0.4).train()

    def written_out() -> torch.Tensor:
        logits = query / 2 @ key.transpose(-2, -1)
        return dropout((logits if bias is None else logits + bias).softmax(-1)) @ value

    results = []
    for forward in (lambda: attend(query, key, value, bias, dropout), written_out):
        torch.manual_seed(1)
        mixed = forward()
        weighted = (mixed * torch.linspace(-1, 2, 4, dtype=torch.float64)).sum()
        results.append([mixed, *torch.autograd.grad(weighted, [query, key, value])])
    torch.testing.assert_close(*results, rtol=1e-12, atol=1e-12)


def test_attending_with_dropout_keeps_one_weight_and_a_byte_per_pair():
    query, key, value = (torch.randn(2, 3, 100, 1, requires_grad=True) for _ in range(3))
    # Scaled queries, keys and values beside them.
    pairs, narrow = 2 * 3 * 100 * 100, 3 * 2 * 3 * 100
    assert bytes_kept(lambda: attend(query, key, value, None, Dropout(0.4))) <= 5 * pairs + 4 * narrow
