"""TR-DETR: what its predictions may depend on, the published faults, how scores and moments help each other."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from sadetr.models.tr_detr.cooperation import MomentSummary, SummedHighlightHead, highlighted, moment_clips
from sadetr.models.tr_detr.model import TRDETR, alignment_terms
from sadetr.models.tr_detr.settings import TRDETRSettings
from sadetr.nn.spans import se_to_cw
from tests.samples import (
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

SMALL = NARROW | {"fuser_dropout": 0.0}
CORRECTED = {"word_mask": "own", "padding": "masked", "outside": "clamped"}


def small(**changes) -> TRDETR:
    """A network none of whose parameters is constant."""
    torch.manual_seed(0)
    model = TRDETR(TRDETRSettings.model_validate(merged(SMALL, changes)), SHAPE)
    return shaken(model)


def terms(model, batch):
    return model.objective(model(batch, small_step()), batch)


def gaps(model, batch, name: str) -> list[float]:
    """How far a prediction of each sample is from the one that it has alone."""
    together = getattr(model(batch), name)
    alone = [getattr(model(only(batch, index)), name)[0] for index in range(len(batch))]
    return [(each - row[: len(each)]).abs().max().item() for each, row in zip(alone, together, strict=True)]


@pytest.mark.parametrize("changes", [{}, {"text_positions": 9}, {"encoder_layers": 1, "decoder_layers": 3}])
def test_corrected_a_batch_predicts_what_its_samples_predict_alone(changes):
    model, batch = small(**CORRECTED, **changes).eval(), small_batch()
    assert all(max(gaps(model, batch, name)) < 1e-5 for name in ("spans", "scores", "saliency"))


def test_corrected_padding_and_what_it_holds_change_no_loss():
    model, batch = small(**CORRECTED), small_batch()
    expected = terms(model, batch)
    for other in (padded(batch, clips=3, tokens=2, slots=1), with_garbage(batch)):
        for name, value in terms(model, other).items():
            agree(value, expected[name])


@pytest.mark.parametrize("fault", [{"word_mask": "tiled"}, {"padding": "counted"}])
def test_each_published_fault_makes_predictions_depend_on_the_batch(fault):
    model, batch = small(**merged(CORRECTED, fault)).eval(), small_batch()
    assert max(gaps(model, batch, "spans")) > 1e-5
    assert max(gaps(model, batch, "saliency")) > 1e-3


def test_the_published_faults_of_padding_are_harmless_where_all_lengths_are_equal():
    batch = small_batch((7, 7, 7), (4, 4, 4), (1, 2, 1))
    published, corrected = small(outside="clamped"), small(**CORRECTED)
    agree(published(batch).saliency, corrected(batch).saliency)
    agree(published(batch).spans, corrected(batch).spans)
    expected = terms(corrected, batch)
    for name, value in terms(published, batch).items():
        agree(value, expected[name])


@pytest.mark.parametrize("changes", [{}, CORRECTED, {"text_positions": 5}])
def test_every_parameter_learns(changes):
    model = small(**changes)
    torch.stack(list(terms(model, small_batch()).values())).sum().backward()
    assert not [name for name, parameter in model.named_parameters() if parameter.grad is None]


def test_a_wrapped_moment_is_a_slice_of_python():
    # Off the borders of clips, where rounding decides.
    starts, stops = (0.22, -0.14, -0.33, 0.93, -0.05, 0.52, -1.64), (0.67, 0.34, -0.12, 1.44, 0.05, 0.52, 0.43)
    ends = torch.tensor((starts, stops)).T
    lengths = torch.full((len(ends),), 10)
    first, stop = moment_clips(se_to_cw(ends), lengths, wrapped=True)
    for row, (start, end) in enumerate((se_to_cw(ends) * 10).tolist()):
        begin, last = int((start - end / 2) // 1), int((start + end / 2) // 1)
        assert list(range(first[row], stop[row])) == list(range(10))[begin : last + 1], row


def test_a_clamped_moment_holds_a_clip_of_the_video_at_least():
    ends = torch.tensor([[-0.1, 0.3], [-0.9, -0.5], [1.2, 1.4], [0.25, 0.55]])
    first, stop = moment_clips(se_to_cw(ends), torch.tensor([10, 10, 4, 10]), wrapped=False)
    assert first.tolist() == [0, 0, 3, 2]
    assert stop.tolist() == [4, 1, 4, 6]


def test_the_summary_reads_the_moment_from_the_first_step_and_zeros_behind_it():
    torch.manual_seed(0)
    summary, clips = MomentSummary(6), torch.randn(3, 5, 6)
    first, stop, lengths = torch.tensor([1, 4, 5]), torch.tensor([3, 5, 2]), torch.tensor([5, 5, 4])
    found = summary(clips, first, stop, lengths)
    for row in range(3):
        cut = clips[row, first[row] : stop[row]]
        state = summary.gru(functional.pad(cut, (0, 0, 0, int(lengths[row]) - len(cut))))[1]
        agree(found[row], state[0])


def test_highlight_scores_are_the_sum_of_projected_clips():
    torch.manual_seed(0)
    head, clips, gain = SummedHighlightHead(16), torch.randn(2, 5, 16), torch.randn(2, 5)
    agree(head(clips), head.clip(clips).sum(-1) / 4)
    agree(head(clips, gain), head.clip(gain.unsqueeze(-1) * clips).sum(-1) / 4)


def test_clips_are_weighed_by_the_softmax_of_their_scores():
    clips, scores = torch.ones(1, 3, 2), torch.tensor([[0.0, 1.0, 2.0]])
    everything, two = torch.ones(1, 3, dtype=torch.bool), torch.tensor([[True, True, False]])
    agree(highlighted(clips, scores, everything)[0, :, 0], scores[0].softmax(0))
    agree(highlighted(clips, scores, two)[0, :, 1], torch.cat((scores[0, :2].softmax(0), torch.zeros(1))))


def test_the_best_moment_weighs_the_scores_and_gets_no_gradient_by_that():
    model, batch = small(**CORRECTED), small_batch()
    output = model(batch, small_step())
    heads = [*model.span_head.parameters(), *model.label_head.parameters()]
    found = torch.autograd.grad(output.saliency.sum(), [*heads, model.moment.gru.weight_hh_l0], allow_unused=True)
    assert found[:-1] == (None,) * len(heads)
    assert found[-1].norm() > 0
    # Another best query is another moment: the class head alone changes the scores.
    with torch.no_grad():
        model.label_head.weight.neg_()
    other = model(batch, small_step())
    assert torch.equal(other.spans, output.spans)
    assert (other.saliency - output.saliency)[batch.video_mask].abs().max() > 1e-3


def test_the_encoder_is_run_twice_with_the_same_weights():
    model, batch = small().eval(), small_batch()
    calls = []
    model.encoder.register_forward_hook(lambda module, inputs, output: calls.append((inputs[0], output)))
    model(batch)
    (fused, first), (again, _) = calls
    agree(again, first + highlighted(fused, model.highlight_head(first), torch.ones_like(batch.video_mask)))


def test_alignment_counts_padding_only_as_published():
    batch = small_batch()
    wider = padded(batch, clips=5)
    values = {}
    for padding in ("counted", "masked"):
        model = small(padding=padding)
        values[padding] = [alignment_terms(model(each, small_step()), each, model.settings) for each in (batch, wider)]
    for name in ("vtc", "ctc"):
        agree(*(each[name] for each in values["masked"]))
        assert (values["counted"][0][name] - values["counted"][1][name]).abs() > 1e-4


def test_no_negative_pass_and_no_background_weight():
    model, batch = small(), small_batch()
    found = terms(model, batch)
    assert set(found) == {"l1", "giou", "label", "saliency_margin", "saliency_rank", "vtc", "ctc"}
    agree(terms(small(loss={"background": 0.9}), batch)["label"], found["label"])
    doubled = terms(small(loss={"vtc": 0.6, "ctc": 1.5}), batch)
    agree(doubled["vtc"], 2 * found["vtc"])
    agree(doubled["ctc"], 3 * found["ctc"])


def test_without_step_and_labels_it_predicts_the_same():
    model, batch = small().eval(), small_batch()
    bare = replace(batch, relevant=torch.zeros_like(batch.relevant), saliency=torch.zeros_like(batch.saliency))
    assert torch.equal(model(batch, small_step()).saliency, model(bare).saliency)
