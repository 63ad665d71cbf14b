"""The metrics of docs/metrics.md once more: one query, one window, one clip at a time, as plain as possible."""

import numpy as np

RANGES = {"": None, "short/": (0, 10), "middle/": (10, 30), "long/": (30, 150)}
RECALL = [0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95]
PRECISION = RECALL[4:]
LEVELS = {"Fair": 2, "Good": 3, "VeryGood": 4}


def evaluate(predictions, queries, highlights, clip_length):
    rows = {row["qid"]: row for row in predictions}
    metrics = {}
    for prefix, limits in RANGES.items():
        recalled, precisions = [], []
        for query in queries:
            truth = [tuple(window) for window in query.windows.tolist()]
            if limits is not None:
                truth = [(start, end) for start, end in truth if limits[0] < end - start <= limits[1]]
            if not truth:
                continue
            windows = rows[query.qid]["pred_relevant_windows"]
            recalled.append(first_iou(windows, truth))
            if windows:
                precisions.append([moment_precision(windows, truth, threshold) for threshold in PRECISION])
        for threshold in RECALL:
            hits = [iou >= threshold for iou in recalled]
            metrics[f"{prefix}R1@{threshold}"] = 100 * (sum(hits) / len(hits)) if hits else None
        metrics[f"{prefix}mIoU"] = 100 * np.mean(recalled) if recalled else None
        means = np.array(precisions).mean(axis=0) if precisions else None
        for index, threshold in enumerate(PRECISION):
            metrics[f"{prefix}mAP@{threshold}"] = None if means is None else 100 * means[index]
        metrics[f"{prefix}mAP"] = None if means is None else 100 * means.mean()
    if highlights:
        for level, minimum in LEVELS.items():
            precisions, hits = [], []
            for query in queries:
                predicted = rows[query.qid]["pred_saliency_scores"]
                labels = clip_labels(query, clip_length, minimum)
                precisions.append([clip_precision(predicted, [clip[k] for clip in labels]) for k in range(3)])
                top = predicted.index(max(predicted))
                hits.append(top < len(labels) and any(labels[top]))
            metrics[f"HD_mAP@{level}"] = 100 * np.mean(precisions)
            metrics[f"HIT@1@{level}"] = 100 * (sum(hits) / len(hits))
        metrics["HD_mAP"], metrics["HIT@1"] = metrics["HD_mAP@VeryGood"], metrics["HIT@1@VeryGood"]
    return metrics


def overlap(a, b):
    return max(0.0, min(a[1], b[1]) - max(a[0], b[0]))


def iou_of(a, b):
    union = (a[1] - a[0]) + (b[1] - b[0]) - overlap(a, b)
    return overlap(a, b) / union


def first_iou(windows, truth):
    if not windows:
        return 0.0
    first = windows[0]
    best = truth[0]
    for window in truth[1:]:
        if iou_of(first, window) > iou_of(first, best):
            best = window
    hull = max(first[1], best[1]) - min(first[0], best[0])
    return overlap(first, best) / hull


def moment_precision(windows, truth, threshold):
    ranked = sorted(windows[:10], key=lambda window: -window[2])
    taken, hits = set(), []
    for window in ranked:
        # Descending overlap; of equal ones the later window first.
        order = sorted(range(len(truth)), key=lambda k: (-iou_of(window, truth[k]), -k))
        hits.append(False)
        for k in order:
            if iou_of(window, truth[k]) < threshold:
                break
            if k not in taken:
                taken.add(k)
                hits[-1] = True
                break
    precision, recall = [], []
    for rank in range(1, len(hits) + 1):
        found = sum(hits[:rank])
        precision.append(found / rank)
        recall.append(found / len(truth))
    area, before = 0.0, 0.0
    for rank, reached in enumerate(recall):
        if reached != before:
            area += (reached - before) * max(precision[rank:])
            before = reached
    return area


def clip_labels(query, clip_length, minimum):
    labels = [[False] * 3 for _ in range(int(query.duration / clip_length))]
    for clip, scores in zip(query.relevant_clip_ids.tolist(), query.saliency.tolist(), strict=True):
        labels[clip] = [score >= minimum for score in scores]
    return labels


def clip_precision(predicted, labels):
    if not any(labels):
        return 0.0
    predicted = (list(predicted) + [0.0] * len(labels))[: len(labels)]
    precision, recall = [], []
    for score in sorted(set(predicted), reverse=True):
        chosen = [label for value, label in zip(predicted, labels, strict=True) if value >= score]
        precision.append(sum(chosen) / len(chosen))
        recall.append(np.float32(sum(chosen) / sum(labels)))
    total, steps, before = 0.0, 0, np.float32(0)
    for step, reached in enumerate(recall):
        if reached != before:
            total += max(precision[step:])
            steps += 1
            before = reached
    return total / steps
