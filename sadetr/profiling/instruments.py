"""What is watched of a training: its loop, a method's modules and the loss functions, wrapped while it is profiled.

Wrapping from outside costs nothing otherwise, and adds neither an operator nor a random draw, so the bits stay.
"""

import contextlib
import functools
import inspect
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any
from unittest.mock import patch

import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from sadetr.data.batches import TrainingEpochs
from sadetr.data.feeding import Link, Mapped, Pinned
from sadetr.data.residency import Resident
from sadetr.evaluation.scorer import GroundTruth
from sadetr.models.interface import Batch, Method
from sadetr.profiling.parts import Parts
from sadetr.training import loop
from sadetr.training.checkpoint import TrainingState
from sadetr.training.loop import Trainer

WATCHED: tuple[tuple[Any, str, str], ...] = (
    (Trainer, "_train_epoch", "training"),
    (Trainer, "_step", "step"),
    (Trainer, "_validate", "validation"),
    (Trainer, "_update", "snapshot"),
    (TrainingState, "save", "saving"),
    (Mapped, "gather", "gathering"),
    (Pinned, "gather", "gathering"),
    (Resident, "gather", "gathering"),
    (Link, "receive", "transfer"),
    (Batch, "to", "transfer"),
    (torch.Tensor, "backward", "backward"),
    (torch.nn.utils, "clip_grad_norm_", "clipping"),
    (loop, "predict", "prediction"),
    (GroundTruth, "score", "scoring"),
    (loop, "metrics_of", "scoring"),
)
"""Owner, attribute, part."""
LOSSES, MATCHING = "sadetr.losses", "matching"


@contextlib.contextmanager
def watched(parts: Parts, model: Method) -> Iterator[None]:
    """Everything that a training calls is a part while this is entered."""
    with contextlib.ExitStack() as stack:
        for owner, name, part in WATCHED:
            stack.enter_context(patch.object(owner, name, parts.wrapped(getattr(owner, name), part)))
        stack.enter_context(patch.object(TrainingEpochs, "epoch", _waited(TrainingEpochs.epoch, parts)))
        stack.enter_context(patch.object(model, "objective", parts.wrapped(model.objective, "objective")))
        stack.enter_context(_optimiser(parts))
        stack.enter_context(patch.object(model, "forward", parts.wrapped(model.forward, "forward")))
        for part, child in _children(model):
            for name in _methods(child):
                stack.enter_context(patch.object(child, name, parts.wrapped(getattr(child, name), part)))
        for module, name, function in _loss_functions(model):
            stack.enter_context(patch.object(module, name, _loss(function, parts)))
        yield


def _waited(epoch: Callable[..., Iterator[Batch]], parts: Parts) -> Callable[..., Iterator[Batch]]:
    """Batches are gathered in a thread beside the step: what the loop feels is the time until it has one."""

    @functools.wraps(epoch)
    def batches(*args: Any) -> Iterator[Batch]:
        following = epoch(*args)
        while True:
            with parts.part("waiting for the batch"):
                batch = next(following, None)
            if batch is None:
                return
            yield batch

    return batches


def _loss(function: Callable[..., Any], parts: Parts) -> Callable[..., Any]:
    """Of losses that call each other the outermost is a part, and matching wherever it is called."""
    room = function.__module__.rpartition(".")[2]
    name = f"{room}.{function.__name__}"

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        outer = {each.partition(".")[0] for each in parts.names if "." in each}
        if MATCHING in outer or (outer and room != MATCHING):
            return function(*args, **kwargs)
        with parts.part(name):
            return function(*args, **kwargs)

    return call


def _loss_functions(model: Method) -> Iterator[tuple[ModuleType, str, Callable[..., Any]]]:
    """Public functions of :mod:`sadetr.losses`, in every module of ours or of the method that imported them by name."""
    packages = {LOSSES.partition(".")[0], type(model).__module__.partition(".")[0]}
    for module in [module for name, module in sys.modules.items() if name.partition(".")[0] in packages]:
        for name, value in list(vars(module).items()):
            if inspect.isfunction(value) and value.__module__.startswith(LOSSES) and not name.startswith("_"):
                yield module, name, value


def _children(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Parts of the network by the name of the attribute; a list of modules is never called, so those in it count."""
    for name, child in model.named_children():
        lists = isinstance(child, nn.ModuleList | nn.ModuleDict)
        yield from ((name, each) for _, each in (_children(child) if lists else [(name, child)]))


def _methods(module: nn.Module) -> set[str]:
    """What may be called of a module: ``forward``, and public methods of classes that are not torch's own."""
    own = [each for each in type(module).__mro__ if each.__module__.partition(".")[0] != "torch"]
    named = {name for each in own for name, value in vars(each).items() if inspect.isfunction(value)}
    return {"forward"} | {name for name in named if not name.startswith("_")}


@contextlib.contextmanager
def _optimiser(parts: Parts) -> Iterator[None]:
    """The step of any optimiser."""
    running: list[contextlib.AbstractContextManager[None]] = []

    def enter(*_: Any) -> None:
        running.append(parts.part("optimiser"))
        running[-1].__enter__()

    def leave(*_: Any) -> None:
        running.pop().__exit__(None, None, None)

    before = register_optimizer_step_pre_hook(enter)
    after = register_optimizer_step_post_hook(leave)
    try:
        yield
    finally:
        before.remove()
        after.remove()
