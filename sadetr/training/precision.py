"""The precision that a training step computes in. Weights, losses, matching and moments are single in every case."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import fields, is_dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor

from sadetr.models.interface import Step
from sadetr.training_settings import Precision

Value = TypeVar("Value")


def allow_tf32(allowed: bool) -> None:
    """Whether a GPU rounds the factors of matrix products and convolutions to 10 bits; a CPU never does.

    torch allows it to cuDNN's convolutions and recurrent layers unless told otherwise.
    """
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed


@contextmanager
def computing(precision: Precision, device: torch.device) -> Iterator[None]:
    """What a step's forward and backward passes run in. ``tf32`` means nothing on a CPU."""
    if precision != "tf32" or device.type != "cuda":
        yield
        return
    allow_tf32(True)
    try:
        yield
    finally:
        allow_tf32(False)


def predicting(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    """What ``forward`` runs in: with ``bf16`` torch's automatic mixed precision, and nothing otherwise."""
    if precision != "bf16":
        return nullcontext()
    # A cast that is kept could outlive a graph that holds it; and gradients of a weight that is used several times
    # are so summed in single precision.
    return torch.autocast(device.type, torch.bfloat16, cache_enabled=False)


def in_single(value: Value) -> Value:
    """An output with all its numbers in single precision, whatever it is put together from."""
    if isinstance(value, Tensor):
        return value.float() if value.dtype in (torch.bfloat16, torch.float16) else value
    if isinstance(value, Step):
        return value
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{part.name: in_single(getattr(value, part.name)) for part in fields(value)})
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*map(in_single, value))
    if isinstance(value, list | tuple):
        return type(value)(map(in_single, value))
    if isinstance(value, dict):
        return type(value)((name, in_single(each)) for name, each in value.items())
    return value
