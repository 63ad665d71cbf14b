"""Small batches, settings and models for the tests of networks, losses and training."""

import os
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sadetr.configuration import load_method, resolve
from sadetr.models.interface import Batch, Method, Step
from sadetr.models.sa_detr.model import SADETR
from sadetr.models.sa_detr.settings import SADETRSettings
from sadetr.nn.stochastic import DropPath
from sadetr.settings import RunSettings
from sadetr.shapes import FeatureShape

# Tests run side by side, one process per core; at these sizes a second thread only waits.
torch.set_num_threads(1)

VIDEO_WIDTH, TEXT_WIDTH, HIDDEN = 10, 6, 32
SHAPE = FeatureShape(VIDEO_WIDTH, TEXT_WIDTH, clip_length=2.0)
NARROW = {
    "hidden_width": HIDDEN,
    "num_heads": 4,
    "feedforward_width": 48,
    "dropout": 0.0,
    "input_dropout": 0.0,
    "num_moment_queries": 6,
}
"""Sizes of a small detection transformer without dropout."""
SHARED = Path(os.environ.get("SADETR_SHARED", Path(__file__).resolve().parents[2] / "shared"))


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """``base`` with ``changes`` laid over it, mappings key by key."""
    result = dict(base)
    for key, value in changes.items():
        result[key] = merged(base[key], value) if isinstance(value, dict) and isinstance(base.get(key), dict) else value
    return result


def small_settings(**changes: Any) -> SADETRSettings:
    """A narrow SA-DETR without dropout; ``changes`` are nested as in a configuration file."""
    base = {
        **NARROW,
        "dn": {"groups": 2},
        "enhance": {"samples": 4},
    }
    return SADETRSettings.model_validate(merged(base, changes))


REFINING = ("decoder_layers", "refiner_layers")


def shallow(settings: RunSettings) -> RunSettings:
    """One layer of each stack, two where the second reads other references than the first: all take long to capture."""
    layers = {name: value for name, value in settings.model if name.endswith("_layers")}
    fewer = {name: min(value, 2 if name in REFINING else 1) for name, value in layers.items()}
    return settings.model_copy(update={"model": settings.model.model_copy(update=fewer)})


def small_method(method: str, variant: str = "full", dropout: bool = True) -> Method:
    """Any method as the smallest scale has it, on narrow features and with few layers."""
    settings = shallow(resolve("qvhighlights", method, variant, 2018, "mini"))
    torch.manual_seed(0)
    model = shaken(load_method(method).network_type()(settings.model, SHAPE))
    for module in [] if dropout else model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        elif isinstance(module, DropPath):
            module.probability = 0.0
    return model.train()


def shaken(model: nn.Module) -> nn.Module:
    """``model`` with noise on every parameter: none stays constant, so that a swapped or unused one shows."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def small_model(settings: SADETRSettings | None = None, seed: int = 0) -> SADETR:
    """A model none of whose parameters is constant, so that a swapped or unused one shows."""
    torch.manual_seed(seed)
    model = SADETR(settings or small_settings(), SHAPE)
    return shaken(model)


def small_step(progress: float = 0.0, seed: int = 0) -> Step:
    """A training step with fresh draws, ``progress`` in hundredths."""
    return Step(round(100 * progress), 100, torch.Generator().manual_seed(seed))


def random_spans(generator: torch.Generator, *shape: int) -> Tensor:
    """Valid ``cw`` spans, (*shape, 2), at least 0.02 wide."""
    ends = torch.rand(*shape, 2, generator=generator).sort(-1).values
    start, end = ends[..., 0] * 0.9, ends[..., 1] * 0.9 + 0.1
    return torch.stack(((start + end) / 2, (end - start).clamp(min=0.02)), -1)


def small_batch(
    clips: tuple[int, ...] = (9, 6, 4), tokens: tuple[int, ...] = (5, 3, 1), windows: tuple[int, ...] = (2, 1, 3)
) -> Batch:
    """A batch with ragged lengths; every sample is of a video of its own and has an irrelevant clip."""
    generator = torch.Generator().manual_seed(7)
    size, longest = len(clips), max(clips)
    lengths = torch.tensor(clips)
    video_mask = torch.arange(longest) < lengths[:, None]
    text_mask = torch.arange(max(tokens)) < torch.tensor(tokens)[:, None]
    spans_mask = torch.arange(max(windows)) < torch.tensor(windows)[:, None]
    # The last valid clip is irrelevant, the first relevant, the rest either; a video of one clip is relevant.
    relevant = torch.rand(size, longest, generator=generator) < 0.5
    relevant = relevant & (torch.arange(longest) < lengths[:, None] - 1)
    relevant[:, 0] = True
    saliency = torch.randint(0, 13, (size, longest), generator=generator).float() * relevant
    last = (lengths - 1).clamp(min=0)
    return Batch(
        video=torch.randn(size, longest, VIDEO_WIDTH, generator=generator) * video_mask[..., None],
        video_mask=video_mask,
        text=torch.randn(size, max(tokens), TEXT_WIDTH, generator=generator) * text_mask[..., None],
        text_mask=text_mask,
        spans=random_spans(generator, size, max(windows)) * spans_mask[..., None],
        spans_mask=spans_mask,
        saliency=saliency,
        relevant=relevant,
        positive_clips=torch.stack((saliency.argmax(1), torch.zeros(size, dtype=torch.int64)), 1),
        negative_clips=torch.stack((torch.zeros(size, dtype=torch.int64), last), 1),
        aligned_clip=relevant.long().cumsum(1).argmax(1),
        video_id=torch.arange(size),
    )


def padded(batch: Batch, clips: int = 0, tokens: int = 0, slots: int = 0) -> Batch:
    """A copy of the batch with that many more padded clips, tokens and windows."""

    def wider(values: Tensor, amount: int) -> Tensor:
        return torch.cat((values, values.new_zeros(values.shape[0], amount, *values.shape[2:])), 1)

    return replace(
        batch,
        **{name: wider(getattr(batch, name), clips) for name in ("video", "video_mask", "saliency", "relevant")},
        **{name: wider(getattr(batch, name), tokens) for name in ("text", "text_mask", "characters")},
        **{name: wider(getattr(batch, name), slots) for name in ("spans", "spans_mask")},
    )


def with_garbage(batch: Batch, seed: int = 1) -> Batch:
    """A copy of the batch with large numbers in padded clips, tokens and windows."""
    generator = torch.Generator().manual_seed(seed)

    def spoiled(values: Tensor, mask: Tensor) -> Tensor:
        noise = 50 * torch.randn(values.shape, generator=generator)
        return torch.where(mask[..., None], values, noise)

    return replace(
        batch,
        video=spoiled(batch.video, batch.video_mask),
        text=spoiled(batch.text, batch.text_mask),
        spans=spoiled(batch.spans, batch.spans_mask),
    )


def only(batch: Batch, index: int) -> Batch:
    """One sample without any padding."""
    clips, tokens, slots = (
        int(getattr(batch, mask)[index].sum()) for mask in ("video_mask", "text_mask", "spans_mask")
    )
    lengths = {"video": clips, "video_mask": clips, "saliency": clips, "relevant": clips}
    lengths |= {"text": tokens, "text_mask": tokens, "characters": tokens, "spans": slots, "spans_mask": slots}
    row = slice(index, index + 1)
    values = {field.name: getattr(batch, field.name)[row] for field in fields(batch)}
    return Batch(**values | {name: values[name][:, :length] for name, length in lengths.items()})


def agree(ours: Tensor, theirs: Tensor) -> None:
    """Check that numbers are the same up to float32 rounding."""
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=2e-6)


def total_loss(model: nn.Module, batch: Batch) -> Tensor:
    """What training minimises, in the first step."""
    return torch.stack(list(model.objective(model(batch, small_step()), batch).values())).sum()
