"""Randomness that depends on the seed, its consumer and the epoch alone.

Every consumer (order of the data, saliency clips, noise queries, dropout, ...) draws from a stream of its own that is
derived anew in every epoch. So no generator state needs saving, a resumed training continues with the same bits, and
neither validation nor another consumer can shift anyone's draws.
"""

import numpy as np
import torch


class Streams:
    """Derives one generator per consumer and epoch from the seed of a run."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def numpy(self, consumer: str, epoch: int) -> np.random.Generator:
        """Generator of ``consumer`` in ``epoch``."""
        return np.random.default_rng(self._sequence(consumer, epoch))

    def torch(self, consumer: str, epoch: int) -> torch.Generator:
        """Generator of ``consumer`` in ``epoch`` as torch has them, on the CPU."""
        return torch.Generator().manual_seed(self._state(consumer, epoch))

    def seed_global(self, consumer: str, epoch: int) -> None:
        """Seed torch's global generators (all devices), which initialisation and dropout draw from."""
        torch.manual_seed(self._state(consumer, epoch))

    def _sequence(self, consumer: str, epoch: int) -> np.random.SeedSequence:
        return np.random.SeedSequence([self._seed, epoch, *consumer.encode()])

    def _state(self, consumer: str, epoch: int) -> int:
        return int(self._sequence(consumer, epoch).generate_state(1, np.uint64)[0] >> np.uint64(1))
