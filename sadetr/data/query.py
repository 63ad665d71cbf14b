"""A query: one sentence about one video, and what annotators said of it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Query:
    """One query with its ground truth; a part that the file does not have is None."""

    qid: int | str
    query: str
    vid: str
    duration: float
    """Seconds."""
    windows: NDArray[np.float64] | None
    """(n, 2) start and end in seconds, start < end."""
    relevant_clip_ids: NDArray[np.int64] | None
    """(m,) clips inside the windows, ascending; None without saliency."""
    saliency: NDArray[np.int64] | None
    """(m, 3) one score from 0 to 4 per annotator."""
    label_clip_length: float | None = None
    """Seconds per clip that ``relevant_clip_ids`` count; None: as many as the features' clips. Whoever needs labels of
    clips of another length asks :func:`sadetr.data.clip_labels.clip_labels`."""
