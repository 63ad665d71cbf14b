"""Compare our values with a fixture's, tensor by tensor; nothing is skipped in silence."""

import fnmatch
import math
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from sadetr.errors import DataError, SadetrError
from sadetr.parity.fixture import Fixture
from sadetr.parity.registry import Computation, find_computation


class Tolerance(NamedTuple):
    """Largest difference allowed: ``relative`` times the largest entry of the tensor, plus ``absolute``."""

    relative: float
    absolute: float


_VALUE = Tolerance(1e-5, 2e-6)
TOLERANCES = {
    "output": _VALUE,
    "eval_output": _VALUE,
    "loss": Tolerance(1e-5, 1e-7),
    "part": Tolerance(1e-5, 1e-7),
    "grad": Tolerance(1e-5, 1e-8),
    # Gradients that are zero in exact arithmetic (attention's key biases) are rounding noise up to 1e-6.
    "grad_norm": Tolerance(1e-4, 1e-6),
    "match": Tolerance(0.0, 0.0),
}
"""By the first part of a name: tolerances that the authors' numbers themselves reach between float32 and float64."""


@dataclass(frozen=True)
class Line:
    """Verdict on one tensor."""

    name: str
    error: float | None
    """Largest difference over the largest entry; None where there is nothing to compare."""
    passed: bool
    note: str = ""
    noise: bool = False
    """Their tensor is zero but for rounding, so that its relative error says nothing."""

    def __str__(self) -> str:
        error = "      --" if self.error is None else f"{self.error:8.1e}"
        note = self.note or ("ok" if self.passed else "BEYOND THE TOLERANCE")
        return f"  {self.name:<52} {error}  {note}{' (zero but for rounding)' if self.noise else ''}"


@dataclass(frozen=True)
class Comparison:
    """All tensors of one fixture."""

    fixture: Fixture
    lines: list[Line]

    @property
    def passed(self) -> bool:
        """Every tensor agrees or is declared as not ours to reproduce, and at least one was compared."""
        return all(line.passed for line in self.lines) and any(line.error is not None for line in self.lines)

    def __str__(self) -> str:
        compared = [line for line in self.lines if line.error is not None]
        failed = sum(not line.passed for line in self.lines)
        worst = max((line for line in compared if not line.noise), key=lambda line: line.error, default=None)
        summary = f"{len(compared)} of {len(self.lines)} compared"
        if worst is not None:
            summary += f", largest relative error {worst.error:.1e} ({worst.name})"
        verdict = "ok" if self.passed else f"FAILED ({failed})"
        source = self.fixture.meta.get("source_repository", "unknown source")
        head = f"{self.fixture.path}: {self.fixture.subject} of {source}"
        return "\n".join((head, *map(str, self.lines), f"  {verdict}: {summary}"))


def compare(fixture: Fixture, relative: float | None = None) -> Comparison:
    """Compute a fixture with our code and compare every result that it holds.

    Args:
        fixture: in float32 as stored, or in float64.
        relative: replaces the relative tolerances of all floating-point tensors.

    Raises:
        DataError: the fixture is incomplete, or its parts do not belong together.
    """
    computation = find_computation(fixture)
    ours = _computed(computation, fixture)
    lines = []
    for name, theirs in sorted(fixture.results.items()):
        reason = next(
            (why for pattern, why in computation.uncompared.items() if fnmatch.fnmatchcase(name, pattern)), None
        )
        if name in ours:
            lines.append(_judge(name, ours[name].detach(), theirs, relative))
        elif reason is not None:
            lines.append(Line(name, None, True, f"not compared: {reason}"))
        else:
            lines.append(Line(name, None, False, "MISSING: our code computes no such value"))
    return Comparison(fixture, lines)


def _computed(computation: Computation, fixture: Fixture) -> dict[str, Tensor]:
    try:
        return computation.compute(fixture)
    except DataError:
        raise
    except SadetrError as error:
        raise DataError(f"{fixture.path}: {error}") from None
    # A fixture is a stranger's file: sizes that do not belong together fail anywhere inside the computation.
    except (RuntimeError, LookupError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
        what = f"{type(error).__name__}: {error}"
        raise DataError(
            f"{fixture.path}: cannot be computed as a fixture of {fixture.subject!r}; its tensors and options do not "
            f"belong together ({what})"
        ) from error


def _judge(name: str, ours: Tensor, theirs: Tensor, relative: float | None) -> Line:
    if ours.shape != theirs.shape:
        return Line(name, None, False, f"SHAPE {tuple(ours.shape)}, expected {tuple(theirs.shape)}")
    if not theirs.is_floating_point():
        different = int((ours != theirs).sum())
        return Line(name, float(different > 0), different == 0, f"{different} ENTRIES DIFFER" if different else "equal")
    tolerance = TOLERANCES.get(name.split(".")[0], _VALUE)
    if relative is not None:
        # Absolute parts keep their proportion: else they would hide what a strict tolerance is to find.
        absolute = tolerance.absolute and tolerance.absolute * relative / tolerance.relative
        tolerance = Tolerance(relative, absolute)
    difference, largest = _largest(ours.double() - theirs.double()), _largest(theirs.double())
    # Against an infinite entry of theirs every tolerance would be infinite.
    passed = math.isfinite(difference) and difference <= tolerance.relative * largest + tolerance.absolute
    noise = 0 < largest <= tolerance.absolute
    return Line(name, difference / largest if largest else difference, passed, noise=noise)


def _largest(values: Tensor) -> float:
    return values.abs().amax().item() if values.numel() else 0.0
