"""Decoders: the cheap order of products equals the plain one, and gradients stop where they should."""

import pytest
import torch
from torch import Tensor, nn

from sadetr.nn.attention import FewQueryAttention, MultiHeadAttention, split_heads
from sadetr.nn.decoders import (
    AnchorEncoding,
    CentreEncoding,
    ConditionalCrossAttention,
    DABDecoder,
    Memory,
    dab_layers,
    iterate,
    reference_offset,
)
from sadetr.nn.layers import FeatureProjection, InputProjection, WideLinear
from sadetr.nn.positions import anchor_positions
from tests.samples import random_spans

WIDTH, HEADS = 16, 4


def shaken(module: nn.Module) -> nn.Module:
    """A module in double precision, with no constant parameter."""
    module = module.double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return module


def memory() -> Memory:
    mask = torch.arange(7) < torch.tensor([[7], [4]])
    values, positions = (torch.randn(2, 7, WIDTH, dtype=torch.float64, requires_grad=True) for _ in range(2))
    return Memory(values, positions, mask)


def gradients(result: Tensor, leaves: list[Tensor]) -> list[Tensor]:
    weights = torch.randn(result.shape, dtype=result.dtype, generator=torch.Generator().manual_seed(1))
    return list(torch.autograd.grad((result * weights).sum(), leaves, retain_graph=True))


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_few_query_attention_equals_the_plain_one(dropout):
    plain, few = shaken(MultiHeadAttention(WIDTH, HEADS, dropout)), FewQueryAttention(WIDTH, HEADS, dropout).double()
    few.load_state_dict(plain.state_dict())
    query, given = torch.randn(2, 3, WIDTH, dtype=torch.float64, requires_grad=True), memory()
    results = []
    for module in (plain, few):
        torch.manual_seed(5)
        result = module(query, given.values + given.positions, given.values, given.mask)
        results.append([result, *gradients(result, [query, given.values, *module.parameters()])])
    torch.testing.assert_close(results[1], results[0], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("first", [True, False], ids=["first", "later"])
def test_conditional_cross_attention_equals_its_concatenated_form(first):
    module, given = shaken(ConditionalCrossAttention(WIDTH, HEADS, 0.0, first, None)), memory()
    content, position, sine = (torch.randn(2, 3, WIDTH, dtype=torch.float64) for _ in range(3))
    query, key, place = module.query(content), module.key(given.values), module.key_position(given.positions)
    if first:
        query, key = query + module.query_position(position), key + place
    query = torch.cat((split_heads(query, HEADS), split_heads(module.query_sine(sine), HEADS)), -1)
    key = torch.cat((split_heads(key, HEADS), split_heads(place, HEADS)), -1)
    logits = query @ key.transpose(-2, -1) / (2 * WIDTH / HEADS) ** 0.5
    attention = logits.masked_fill(~given.mask[:, None, None], -torch.inf).softmax(-1)
    mixed = attention @ split_heads(module.value(given.values), HEADS)
    expected = module.out(mixed.transpose(1, 2).flatten(2))
    anchors = random_spans(torch.Generator().manual_seed(2), 2, 3).double()
    torch.testing.assert_close(module(content, position, sine, anchors, given), expected, rtol=1e-10, atol=1e-12)


def test_first_anchors_learn_through_the_first_layer_and_later_ones_through_the_list_alone():
    decoder, given = three_layers(), memory()
    content = torch.zeros(2, 3, WIDTH, dtype=torch.float64)
    anchors = random_spans(torch.Generator().manual_seed(2), 2, 3).double().requires_grad_()
    decoded = decoder(content, anchors, given)
    assert torch.equal(decoded.starts[0], anchors)
    assert torch.equal(decoded.starts[1:], decoded.ends[:-1])
    assert gradients(decoded.contents[0], [anchors])[0].abs().max() > 0
    # The third layer starts from the second's anchors without their history, which the output list keeps.
    weight = decoder.offset[-1].weight
    assert gradients(decoded.starts[2], [weight])[0].abs().max() > 0
    assert gradients(decoded.ends[2], [weight])[0].abs().max() > 0
    assert torch.autograd.grad(decoded.contents[2].sum(), weight, allow_unused=True)[0] is None


def three_layers() -> DABDecoder:
    layers = dab_layers(3, WIDTH, HEADS, 24, 0.0)
    return shaken(DABDecoder(layers, AnchorEncoding(WIDTH), reference_offset(WIDTH), WIDTH))


def test_later_layers_lack_the_position_of_the_content_and_all_have_their_options():
    layers = dab_layers(3, WIDTH, HEADS, 24, 0.0, activation=nn.ReLU)
    assert [layer.cross_attention.query_position is not None for layer in layers] == [True, False, False]
    assert all(isinstance(layer.feedforward[1], nn.ReLU) for layer in layers)


def test_layers_start_as_copies():
    first, *later = (layer.self_attention.query.bias for layer in dab_layers(3, WIDTH, HEADS, 24, 0.0))
    assert all(torch.equal(bias, first) and bias is not first for bias in later)


def test_a_head_of_the_model_may_move_the_references_without_being_stored_twice():
    head = reference_offset(WIDTH)
    decoder = DABDecoder(
        dab_layers(2, WIDTH, HEADS, 24, 0.0), AnchorEncoding(WIDTH), lambda values: head(values), WIDTH
    )
    assert not [name for name in decoder.state_dict() if name.startswith("offset")]
    given = memory()
    given = Memory(given.values.float(), given.positions.float(), given.mask)
    anchors = random_spans(torch.Generator().manual_seed(2), 2, 3)
    decoded = decoder(torch.zeros(2, 3, WIDTH), anchors, given)
    assert torch.autograd.grad(decoded.ends.sum(), head[-1].weight)[0].abs().max() > 0


def test_decoding_starts_from_the_content_that_it_is_given():
    decoder, given = three_layers(), memory()
    anchors = random_spans(torch.Generator().manual_seed(2), 2, 3).double()
    content = torch.randn(2, 3, WIDTH, dtype=torch.float64, requires_grad=True)
    decoded = decoder(content, anchors, given)
    assert gradients(decoded.contents[0], [content])[0].abs().max() > 0
    # Queries are a set: their order goes through.
    order = torch.tensor([2, 0, 1])
    turned = decoder(content[:, order], anchors[:, order], given)
    torch.testing.assert_close(turned.contents, decoded.contents[:, :, order])
    torch.testing.assert_close(turned.ends, decoded.ends[:, :, order])


def test_references_may_have_any_number_of_parts():
    """BAM-DETR's have three: a point and the distances to both ends."""
    seen = []

    def step(index, content, references):
        seen.append(references.requires_grad)
        return content + index, references * content.mean(-1, keepdim=True)

    content, references = torch.ones(2, 4, WIDTH), torch.rand(2, 4, 3, requires_grad=True)
    decoded = iterate(step, 3, content, references)
    assert decoded.starts.shape == decoded.ends.shape == (3, 2, 4, 3)
    assert seen == [True, False, False]
    torch.testing.assert_close(decoded.ends[2], references * 1 * 1 * 2)
    torch.testing.assert_close(decoded.contents[2], content + 3)


def test_projection_of_features_equals_the_ordinary_one():
    ordinary, wide = shaken(InputProjection(11, 8, 0.0)), FeatureProjection(11, 8, 0.0).double()
    wide.load_state_dict(ordinary.state_dict())
    assert isinstance(wide[2], WideLinear)
    x = torch.randn(2, 5, 11, dtype=torch.float64, requires_grad=True)
    results = []
    for module in (ordinary, wide):
        result = module(x)
        results.append([result, *gradients(result, [x, *module.parameters()])])
    torch.testing.assert_close(results[1], results[0], rtol=1e-10, atol=1e-12)
    assert torch.autograd.gradcheck(
        WideLinear(5, 3).double(), torch.randn(4, 5, dtype=torch.float64, requires_grad=True)
    )


def test_the_centre_encoding_lets_the_cross_attention_meet_the_centre_alone():
    encoding, content = shaken(CentreEncoding(WIDTH)), torch.randn(2, 3, WIDTH, dtype=torch.float64)
    anchors = random_spans(torch.Generator().manual_seed(0), 2, 3).double()
    position, sine = encoding(anchors, content, True)
    scale = encoding.scale(content) * encoding.reference_width(content).sigmoid() / anchors[..., 1:]
    torch.testing.assert_close(sine, anchor_positions(anchors, 2 * WIDTH)[..., :WIDTH] * scale)
    # Positions of the self attention know the width, and contents scale the first layer like every other.
    wider, _ = encoding(anchors * torch.tensor([1.0, 1.1]), content, True)
    assert (wider - position).abs().max() > 1e-3
    torch.testing.assert_close(encoding(anchors, content, False), (position, sine))


def test_contents_need_not_scale_the_first_layers_centre_encoding():
    encoding = shaken(CentreEncoding(WIDTH, inner=2 * WIDTH, scale_first=False))
    content = torch.randn(2, 3, WIDTH, dtype=torch.float64)
    anchors = random_spans(torch.Generator().manual_seed(0), 2, 3).double()
    modulation = encoding.reference_width(content).sigmoid() / anchors[..., 1:]
    centre = anchor_positions(anchors, 2 * WIDTH)[..., :WIDTH]
    (position, first), (same, later) = (encoding(anchors, content, each) for each in (True, False))
    torch.testing.assert_close(first, centre * modulation)
    torch.testing.assert_close(later, first * encoding.scale(content))
    torch.testing.assert_close(same, position)
    assert encoding.position[0].out_features == 2 * WIDTH
