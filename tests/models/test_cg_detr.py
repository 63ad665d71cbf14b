"""CG-DETR: adaptive attention, the saliency token, moments and sentences, the published faults."""

import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from sadetr.configuration import load_method
from sadetr.losses.saliency import rank_loss
from sadetr.models.cg_detr.correlation import (
    Correlation,
    distillation_loss,
    dummy_loss,
    orthogonality_loss,
    own_clips,
    relevant_clips,
)
from sadetr.models.cg_detr.fusion import AdaptiveAttention, AdaptiveFusion, AdaptiveLayer, SaliencyPrompts, Text
from sadetr.models.cg_detr.model import CGDETR
from sadetr.models.cg_detr.objective import attention_terms, saliency_terms
from sadetr.models.cg_detr.settings import CGDETRSettings
from tests.samples import (
    HIDDEN,
    NARROW,
    SHAPE,
    agree,
    merged,
    only,
    padded,
    shaken,
    small_batch,
    small_step,
    with_garbage,
)

SMALL = NARROW | {
    "encoder_layers": 2,
    "decoder_layers": 2,
    "text_dropout": 0.0,
    "num_dummies": 3,
    "num_prompts": 4,
    "chosen_prompts": 2,
}
CORRECTED = load_method("cg_detr").variants["corrected"].model


def small(**changes) -> CGDETR:
    """A network none of whose parameters is constant."""
    torch.manual_seed(0)
    return shaken(CGDETR(CGDETRSettings.model_validate(merged(SMALL, changes)), SHAPE))


def losses(model, batch):
    return model.objective(model(batch, small_step()), batch)


def of_originals(*originals: int):
    """A batch of four whose videos are parts of these originals."""
    batch = small_batch((9, 6, 4, 7), (5, 3, 1, 2), (2, 1, 3, 1))
    return replace(batch, source_id=torch.tensor(originals))


def some_text(dummies: int = 3, words: int = 4, size: int = 2) -> Text:
    values, positions = torch.randn(2, size, dummies + words, HIDDEN)
    return Text(values, positions, torch.ones(size, dummies + words, dtype=torch.bool), dummies)


def some_correlation(size: int, clips: int, words: int) -> Correlation:
    def token(*shape: int) -> torch.Tensor:
        return torch.randn(size, *shape, HIDDEN)

    mask = torch.ones(size, words, dtype=torch.bool)
    return Correlation(token(), token(), token(clips), token(clips), token(), token(), token(words), mask)


@pytest.mark.parametrize("changes", [{}, {"text_positions": 9}, {"fusion_layers": 1, "dummy_layers": 1}])
def test_corrected_a_batch_predicts_what_its_samples_predict_alone(changes):
    model, batch = small(**CORRECTED, **changes).eval(), small_batch()
    together = model(batch)
    for index, length in enumerate(batch.video_mask.sum(1)):
        alone = model(only(batch, index))
        for name in ("spans", "scores"):
            agree(getattr(alone, name)[0], getattr(together, name)[index])
        agree(alone.saliency[0], together.saliency[index, :length])


def test_only_the_mask_of_words_makes_published_predictions_depend_on_the_batch():
    batch = small_batch()
    wider = padded(batch, clips=3, tokens=2)
    for mask, found in (("own", False), ("tiled", True)):
        model = small(word_mask=mask).eval()
        alone = [model(only(batch, index)).spans[0] for index in range(len(batch))]
        assert ((model(batch).spans - torch.stack(alone)).abs().max() > 1e-4) == found
        if mask == "own":
            agree(model(wider).spans, model(batch).spans)


@pytest.mark.parametrize("originals", [(0, 1, 2, 3), (0, 0, 1, 2), (0, 0, 0, 0)])
def test_corrected_padding_and_what_it_holds_change_no_loss(originals):
    model, batch = small(**CORRECTED), of_originals(*originals)
    expected = losses(model, batch)
    for other in (padded(batch, clips=3, tokens=2, slots=1), with_garbage(batch)):
        for name, value in losses(model, other).items():
            agree(value, expected[name])


def test_published_padding_counts_in_three_losses():
    model, batch = small(**CORRECTED | {"padding": "counted"}), small_batch()
    expected, found = losses(model, batch), losses(model, padded(batch, clips=3, tokens=2))
    changed = {name for name in expected if (expected[name] - found[name]).abs() > 1e-4}
    assert changed == {"attention_relevance", "alignment", "distillation"}


@pytest.mark.parametrize("changes", [{}, CORRECTED, {"text_positions": 5}])
@pytest.mark.parametrize("originals", [(0, 1, 2, 3), (0, 0, 1, 1), (0, 0, 0, 0)])
def test_every_parameter_learns_whatever_negatives_there_are(changes, originals):
    model, batch = small(**changes), of_originals(*originals)
    torch.stack(list(losses(model, batch).values())).sum().backward()
    assert not [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_what_dummies_take_of_the_attention_is_lost():
    torch.manual_seed(0)
    attention, text = AdaptiveAttention(HIDDEN, 4, 0.0), some_text()
    clips, positions = torch.randn(2, 2, 5, HIDDEN)
    visible = text.mask.clone()
    visible[0, -1] = False
    mixed, weights = attention(clips, positions, text, visible)
    heads = []
    for part in torch.arange(HIDDEN).chunk(4):
        keys = (text.values + text.positions)[..., part]
        logits = (clips + positions)[..., part] @ keys.transpose(1, 2) / math.sqrt(HIDDEN / 4)
        share = logits.masked_fill(~visible.unsqueeze(1), -torch.inf).softmax(-1)
        heads.append((share, share[..., 3:] @ text.values[:, 3:, part]))
    agree(weights, torch.stack([share for share, _ in heads]).mean(0))
    agree(mixed, attention.out(torch.cat([values for _, values in heads], -1)))
    assert not weights[0, :, -1].any()
    assert (text.share(weights) < 1).all()


def test_a_token_alone_is_one_that_attends_to_an_empty_text():
    torch.manual_seed(0)
    layer, tokens, positions = shaken(AdaptiveLayer(HIDDEN, 4, 48, 0.0)), *torch.randn(2, 3, 1, HIDDEN)
    found, attention = layer(tokens, positions, nothing := some_text(0, 0, 3), nothing.mask)
    assert not attention.numel()
    agree(layer.alone(tokens), found)
    fusion = shaken(AdaptiveFusion(2, HIDDEN, 4, 48, 0.0))
    agree(fusion.alone(tokens), fusion(tokens, positions, nothing, nothing.mask)[0])


def test_the_attention_is_the_mean_of_layers_and_sums_to_one():
    model, batch = small(fusion_layers=3), small_batch()
    with torch.no_grad():
        output = model(batch)
        agree(output.attention.sum(-1), torch.ones_like(output.saliency))
        calls = []
        for layer in model.fusion.layers:
            layer.attention.register_forward_hook(lambda module, given, result: calls.append(result[1]))
        model(batch)
    agree(output.attention, torch.stack(calls).mean(0))


def test_the_saliency_token_is_mixed_of_the_most_similar_prompts():
    torch.manual_seed(0)
    prompts, clips, context = SaliencyPrompts(5, 2, 8), torch.randn(1, 6, 8), torch.randn(1, 8)
    similarities = prompts.similarities(clips, context)
    expected = functional.cosine_similarity((clips[0] - context)[:, None], prompts.tokens[None], dim=-1).softmax(-1)
    agree(similarities[0], expected)
    importance = torch.tensor([[0.2, 0.0, 0.6, 0.0, 0.0, 0.0]])
    scores = 0.25 * expected[0] + 0.75 * expected[2]
    first, second = scores.argsort(descending=True)[:2]
    token = context[0] + scores[first] * prompts.tokens[first] + scores[second] * prompts.tokens[second]
    agree(prompts.mix(similarities, importance, context)[0], token)
    # Clips of no importance, padded ones say, make no difference.
    agree(prompts.mix(similarities[:, :3], importance[:, :3], context)[0], token)


def test_clips_hold_the_saliency_token_that_scores_them():
    model, batch = small(), small_batch()
    calls = []
    model.encoder.register_forward_hook(lambda module, given, result: calls.append(result))
    model.highlight_head.register_forward_hook(lambda module, given, result: calls.append(given[0]))
    model(batch)
    encoded, scored = calls
    agree(scored[:, 0], encoded[:, 0])
    agree(scored[:, 1:], encoded[:, 1:] + encoded[:, :1])


def test_other_texts_are_encoded_in_training_alone_and_decoded_never():
    model, batch = small(), small_batch()
    sizes = {"fusion": [], "encoder": [], "decoder": []}
    for name, found in sizes.items():
        getattr(model, name).register_forward_hook(
            lambda module, given, result, found=found: found.append(len(given[0]))
        )
    trained, predicted = model(batch, small_step()), model(batch)
    assert sizes == {"fusion": [6, 3], "encoder": [6, 3], "decoder": [3, 3]}
    assert predicted.negative_saliency is None
    assert predicted.correlation is None
    agree(trained.saliency, predicted.saliency)
    agree(trained.spans, predicted.spans)


def test_negatives_are_scores_against_the_next_text():
    model, batch = small(word_mask="own", padding="masked"), small_batch()
    output = model(batch, small_step())
    rolled = replace(batch, text=batch.text.roll(-1, 0), text_mask=batch.text_mask.roll(-1, 0))
    agree(output.negative_saliency, model(rolled).saliency)
    agree(output.negative_text_attention, model(rolled).text_attention)


def test_a_published_second_pass_holds_the_real_negatives_alone():
    """As if the samples without one had not been there: their masks are tiled over the others."""
    model, batch = small(), of_originals(0, 0, 1, 2)
    output = model(batch, small_step())
    pick = torch.tensor([1, 2, 3])
    names = ("video", "video_mask", "text", "text_mask")
    given = {name: getattr(batch, name) for name in names}
    given |= {name: given[name].roll(-1, 0) for name in ("text", "text_mask")}
    apart = replace(batch, source_id=None, video_id=pick, **{name: values[pick] for name, values in given.items()})
    agree(output.negative_saliency[pick], model(apart).saliency)


@pytest.mark.parametrize(("originals", "count"), [((0, 1, 2, 3), 0), ((0, 0, 1, 2), 1), ((0, 0, 0, 1), 2)])
def test_samples_without_a_negative_are_apart_as_published(originals, count):
    model, batch = small(), of_originals(*originals)
    output = model(batch, small_step())
    real = batch.source_id != batch.source_id.roll(-1)
    assert int((~real).sum()) == count

    def mean(scores, negative, rows):
        given = (None, None) if negative is None else (negative[rows], rows[rows])
        return rank_loss(scores[rows], batch.saliency[rows], batch.video_mask[rows], *given, 0.5, 12)

    expected = mean(output.saliency, output.negative_saliency, real)
    if count > 1:
        expected = expected + mean(output.saliency, None, ~real)
    agree(saliency_terms(output, batch, model.settings)["saliency_rank"], expected)
    attention = attention_terms(output, batch, model.settings)["attention_rank"]
    agree(attention, mean(output.text_attention, output.negative_text_attention, real))
    together = model.settings.model_copy(update={"false_negatives": "together"})
    found = saliency_terms(output, batch, together)["saliency_rank"]
    if count:
        assert (found - expected).abs() > 1e-3
    else:
        agree(found, expected)


def test_the_attention_is_pushed_where_it_belongs():
    model, batch = small(), small_batch()
    output = model(batch, small_step())
    relevant = (batch.saliency > 0).float()
    perfect = replace(output, text_attention=relevant, negative_text_attention=torch.zeros_like(relevant))
    found = attention_terms(perfect, batch, model.settings)
    assert found["attention_relevance"] < 1e-5
    assert found["attention_negative"] < 1e-5
    worst = replace(output, text_attention=1 - relevant, negative_text_attention=torch.ones_like(relevant))
    assert all(value.isfinite() for value in attention_terms(worst, batch, model.settings).values())


@pytest.mark.parametrize("hidden", [True, False])
def test_the_token_of_a_moment_reads_its_clips_alone(hidden):
    model, batch = small(), small_batch()
    kind = relevant_clips(batch) if hidden else ~relevant_clips(batch)
    changed = replace(batch, video=torch.where(kind.unsqueeze(-1), torch.randn(batch.video.shape), batch.video))
    before, after = (model(each, small_step()).correlation for each in (batch, changed))
    same, other = ("others", "moment") if hidden else ("moment", "others")
    agree(getattr(after, same), getattr(before, same))
    assert (getattr(after, other) - getattr(before, other)).abs().max() > 1e-3


def test_a_clip_that_every_annotator_gave_0_is_not_relevant():
    batch = small_batch()
    unlabelled = replace(batch, saliency=torch.zeros_like(batch.saliency))
    assert batch.relevant.any()
    assert not relevant_clips(unlabelled).any()
    assert all(value.isfinite() for value in losses(small(), unlabelled).values())


def test_every_clip_is_taken_from_where_its_kind_is_seen():
    batch = small_batch()
    found = some_correlation(3, 9, 4)
    clips, relevant = own_clips(found, batch), relevant_clips(batch)
    assert torch.equal(clips[relevant], found.moment_clips[relevant])
    assert torch.equal(clips[~relevant], found.other_clips[~relevant])


def test_the_published_labels_of_dummies_are_the_first_sample_s():
    torch.manual_seed(0)
    similarities = torch.randn(4, 8)
    logarithms = similarities.log_softmax(1)
    agree(dummy_loss(similarities, CGDETRSettings()), -(logarithms[0, 1] + logarithms[1:, 0].sum()) / 4)
    own = torch.eye(4, 8, dtype=torch.bool)
    agree(dummy_loss(similarities, CGDETRSettings(dummy_labels="all")), -logarithms[~own].view(4, 7).mean())
    for labels in ("first", "all"):
        assert dummy_loss(torch.zeros(1, 2), CGDETRSettings(dummy_labels=labels)).item() == pytest.approx(math.log(2))


def test_distillation_is_nothing_where_the_attention_is_what_it_should_be():
    torch.manual_seed(0)
    batch, settings = small_batch(), CGDETRSettings(padding="masked")
    found = some_correlation(3, 9, 5)
    found = replace(found, text_mask=torch.arange(5) < torch.tensor([[5], [4], [3]]))
    products = found.moment_clips @ found.text.transpose(1, 2)
    target = products.masked_fill(~found.text_mask.unsqueeze(1), -torch.inf).softmax(-1)
    assert distillation_loss(found, target, batch, settings).abs() < 1e-4
    even = torch.full_like(target, 0.2).requires_grad_()
    loss = distillation_loss(found, even, batch, settings)
    assert loss > 0.1
    loss.backward()
    assert not even.grad[~relevant_clips(batch)].any()
    # Padded words take part as published.
    assert distillation_loss(found, target, batch, CGDETRSettings()) > 0.1


def test_orthogonal_tokens_cost_nothing_and_equal_ones_the_most():
    assert orthogonality_loss(3 * torch.eye(4, 6)) == 0
    agree(orthogonality_loss(torch.ones(2, 4, 6)), torch.tensor(0.75))
    torch.manual_seed(0)
    tokens = torch.randn(4, 6, requires_grad=True)
    (half,) = torch.autograd.grad(orthogonality_loss(tokens), tokens)
    unit = functional.normalize(tokens, dim=-1)
    (whole,) = torch.autograd.grad((unit @ unit.T - torch.eye(4)).abs().mean(), tokens)
    torch.testing.assert_close(half, whole / 2, rtol=1e-4, atol=1e-6)


def test_weights_multiply_their_terms():
    batch = small_batch()
    found = losses(small(), batch)
    heavier = losses(small(loss={"saliency": 4.0, "attention": 3.0, "alignment": 2.0, "distillation": 5.0}), batch)
    for name, value in found.items():
        factor = {"saliency": 4, "attention": 12, "alignment": 2, "distillation": 5, "orthogonality": 5}
        agree(heavier[name], factor.get(name.split("_")[0], 1) * value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"text_heads": 5}, "multiple of text_heads 5"), ({"chosen_prompts": 11}, "at most num_prompts 10")],
)
def test_parts_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        CGDETRSettings(**changes)
