"""What the loop and ``explain`` expect of any method, whichever it is; a new one is found by its file."""

import subprocess
import sys
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import nn

from sadetr.configuration import load_method, resolve
from sadetr.errors import SettingsError
from sadetr.layering import named_files
from sadetr.models.construction import make_method
from sadetr.models.inspection import inspect
from sadetr.models.interface import Batch, Method
from tests.samples import small_batch, small_step

METHODS = named_files("methods")
VARIANTS = [(method, variant) for method in METHODS for variant in load_method(method).variants]
each_method = pytest.mark.parametrize("method", METHODS)


def made(method: str, variant: str | None = None) -> tuple[Method, Batch]:
    """The method as the smallest scale has it, and a batch of its widths with two texts per video."""
    variant = variant or next(iter(load_method(method).variants))
    settings = resolve("qvhighlights", method, variant, 2018, "mini")
    shape = settings.dataset.feature_shape
    torch.manual_seed(0)
    model = make_method(settings)
    batch = small_batch((16, 12, 7, 16), (6, 4, 5, 6), (2, 1, 1, 3))
    video = torch.randn(*batch.video_mask.shape, shape.video_width) * batch.video_mask[..., None]
    text = torch.randn(*batch.text_mask.shape, shape.text_width) * batch.text_mask[..., None]
    return model, replace(batch, video=video, text=text, video_id=torch.tensor([0, 0, 1, 2]))


@pytest.mark.parametrize(("method", "variant"), VARIANTS, ids=["-".join(names) for names in VARIANTS])
def test_every_variant_takes_a_finite_step_and_predicts(method, variant):
    model, batch = made(method, variant)
    terms = model.train().objective(model(batch, small_step()), batch)
    total = torch.stack(list(terms.values())).sum()
    total.backward()
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    assert gradients
    assert all(gradient.isfinite().all() for gradient in (total, *gradients))
    with torch.no_grad():
        output = model.eval()(batch)
    assert output.spans.shape == (*output.scores.shape, 2)
    assert len(output.scores) == len(batch)
    assert output.saliency.shape == batch.video_mask.shape
    assert output.spans.isfinite().all()
    assert output.saliency.isfinite().all()


@each_method
def test_equal_seeds_are_equal_networks(method):
    first, second = (made(method)[0].state_dict() for _ in range(2))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


@each_method
def test_layers_of_a_stack_start_as_copies(method):
    """As the field's repositories build them: biases and norms start equal, whatever is drawn anew for matrices."""
    torch.manual_seed(0)
    model = make_method(resolve("qvhighlights", method, next(iter(load_method(method).variants)), 2018, "paper"))
    stacks = [module for module in model.modules() if isinstance(module, nn.ModuleList)]
    layers = [pair for stack in stacks for pair in pairwise(stack) if len({type(layer) for layer in pair}) == 1]
    # Heads that are a list of bare layers are no stack.
    for layer, following in layers:
        start = dict(layer.named_parameters())
        for name, parameter in following.named_parameters():
            assert parameter.dim() > 1 or "." not in name or torch.equal(parameter, start[name]), name


@each_method
def test_predictions_need_no_labels_and_draw_nothing(method):
    model, batch = made(method)
    bare = replace(
        batch,
        spans=batch.spans[:, :0],
        spans_mask=batch.spans_mask[:, :0],
        saliency=torch.zeros_like(batch.saliency),
        relevant=torch.zeros_like(batch.relevant),
    )
    before = torch.get_rng_state()
    with torch.no_grad():
        outputs = [model.eval()(each) for each in (batch, bare)]
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(getattr(outputs[0], name), getattr(outputs[1], name)) for name in ("spans", "scores"))


@each_method
def test_looking_inside_predicts_the_same_bits(method):
    model, batch = made(method)
    with torch.no_grad():
        found, output = inspect(model.eval(), batch), model(batch)
    assert torch.equal(found.output.spans, output.spans)
    assert torch.equal(found.output.scores, output.scores)
    if found.qualities is not None:
        torch.testing.assert_close(found.qualities[-1], output.scores)
    if found.anchors is not None:
        assert torch.equal(found.anchors[-1], output.spans)
    if found.attention is not None:
        assert not found.attention.masked_select(~batch.video_mask[None, :, None, None]).any()
        assert found.attention.shape[3] == output.scores.shape[1]
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_no_settings_import_torch():
    lines = "".join(f"load_method({method!r}).settings_type(); " for method in METHODS)
    code = f"import sys; from sadetr.configuration import load_method; {lines} sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ("sadetr.models.qd_detr.model", "'network'.*pattern"),
        ("sadetr.models.qd_detr.model:QDETR", "network: .*no attribute 'QDETR'"),
        ("sadetr.models.qd_der.model:QDDETR", "network: .*No module named 'sadetr.models.qd_der'"),
    ],
    ids=["no class", "class", "module"],
)
def test_a_network_that_is_not_there_is_named_with_its_file(tmp_path, network, message):
    file = tmp_path / "methods/mine.yaml"
    file.parent.mkdir()
    settings = "sadetr.models.qd_detr.settings:QDDETRSettings"
    file.write_text(f"title: Mine\nnetwork: {network}\nsettings: {settings}\nvariants: {{full: {{}}}}\n")
    with pytest.raises(SettingsError, match=rf"mine\.yaml.*{message}"):
        load_method("mine", tmp_path).network_type()
