"""What the formulas share, in plain numpy: functions of numbers and spans, drawn masks and windows."""

import numpy as np


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def prefix_mask(rng, rows, columns):
    lengths = rng.integers(2, columns + 1, rows)
    lengths[0] = columns
    return (np.arange(columns) < lengths[:, None]).astype(float)


def spans_of(rng, *shape):
    ends = np.sort(rng.uniform(0, 1, (*shape, 2)), -1)
    return np.stack((ends.mean(-1), ends[..., 1] - ends[..., 0] + 0.01), -1)


def windows(rng, size, most=3):
    counts = rng.integers(1, most + 1, size)
    kept = np.arange(most) < counts[:, None]
    return spans_of(rng, size, most) * kept[..., None], counts


def iou(a, b):
    inter = max(0.0, min(a[1], b[1]) - max(a[0], b[0]))
    return inter / (a[1] - a[0] + b[1] - b[0] - inter)


def giou(a, b):
    inter = max(0.0, min(a[1], b[1]) - max(a[0], b[0]))
    union, hull = a[1] - a[0] + b[1] - b[0] - inter, max(a[1], b[1]) - min(a[0], b[0])
    return inter / union - (hull - union) / hull


def ends(span):
    return span[0] - span[1] / 2, span[0] + span[1] / 2


def cross_entropy(logits):
    return -np.mean(np.log(np.diagonal(softmax(logits))))
