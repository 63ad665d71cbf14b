"""Fixed random projections from the space of meanings to the channels of a backbone, exact to the last bit."""

import numpy as np
import torch
from numpy.typing import NDArray

from sadetr.data.simulation.embedding import WIDTH, Vector, generator

GRID = 2.0**-13
"""Meanings are rounded to multiples of this before they are projected. All sums of a product with +-1 are then whole
multiples of it below 2^24, which float32 holds exactly: the result does not depend on the order of summation, hence
neither on the number of threads nor on the linear algebra library. Holds up to a norm of 2^11 / sqrt(WIDTH) = 181."""


class Projection:
    """One backbone's view: every channel adds up the meaning with signs of its own."""

    def __init__(self, seed: int, name: str, channels: int) -> None:
        signs = generator(seed, "projection", name).integers(0, 2, size=(WIDTH, channels), dtype=np.int8)
        self._signs = torch.from_numpy(2 * signs.astype(np.float32) - 1)

    def __call__(self, rows: Vector) -> NDArray[np.float32]:
        """(n, WIDTH) -> (n, channels); a row of norm r has a mean square of about r^2 per channel."""
        whole = np.rint(rows / GRID).astype(np.float32)
        # By torch, whose threads can be limited: numpy's library starts as many as there are cores in every worker.
        return (torch.from_numpy(whole) @ self._signs).numpy() * np.float32(GRID)
