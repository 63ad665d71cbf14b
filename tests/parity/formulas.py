"""The formulas of every component in plain numpy, float64, sample by sample: what parity is checked against twice.

Written from the notes of the fixtures and from the papers, not from the package. Each function takes a generator
and sizes, and returns tensors and options of a fixture: drawn inputs and the results that follow from them.
"""

import itertools
import math

import numpy as np

from tests.parity.arithmetic import (
    cross_entropy,
    ends,
    giou,
    iou,
    prefix_mask,
    sigmoid,
    softmax,
    spans_of,
    unit,
    windows,
)
from tests.parity.layers import dab_cross_attention, eatr_gate

SIZES = [
    {"B": 3, "LV": 9, "LT": 5, "D": 16, "H": 2, "FF": 24, "Q": 6},
    {"B": 2, "LV": 14, "LT": 3, "D": 24, "H": 4, "FF": 20, "Q": 3},
    {"B": 5, "LV": 4, "LT": 8, "D": 8, "H": 1, "FF": 12, "Q": 7},
]


def sine(position, channels):
    """One number -> interleaved sine and cosine."""
    values = []
    for i in range(channels):
        angle = position / 10000 ** (2 * (i // 2) / channels)
        values.append(math.sin(angle) if i % 2 == 0 else math.cos(angle))
    return values


def sine_anchor(rng, n):
    anchors = spans_of(rng, n["Q"], n["B"])
    values = {"input.anchors": anchors}
    for name, half in (("official_256", 128), (f"half_dim_{n['D'] // 2}", n["D"] // 2), (f"eatr_d{n['D']}", n["D"])):
        encoded = [[sine(2 * math.pi * c, half) + sine(2 * math.pi * w, half) for c, w in row] for row in anchors]
        values[f"output.{name}"] = np.array(encoded)
    return values, {}


def sine_time(rng, n):
    masks = {"mask": prefix_mask(rng, n["B"], n["LV"])}
    masks["mask_with_holes"] = masks["mask"] * (rng.uniform(size=masks["mask"].shape) < 0.7)
    masks["mask_with_holes"][:, 0] = 1
    values = {f"input.{name}": mask for name, mask in masks.items()}
    for channels in (n["D"], 2 * n["D"]):
        for name, mask in (("normalised", "mask"), ("normalised_holes", "mask_with_holes"), ("unnormalised", "mask")):
            order = masks[mask].cumsum(1)
            scaled = order / (order[:, -1:] + 1e-6) * 2 * math.pi if name.startswith("norm") else order
            values[f"output.{name}_{channels}"] = np.array([[sine(x, channels) for x in row] for row in scaled])
    return values, {}


def bam_quality(rng, n):
    truth, counts = windows(rng, n["B"])
    values = {"target.spans": truth, "target.num_spans": counts}
    # The second variant's predictions are far off, so that bins are empty.
    for variant, narrow in (("v0", 1.0), ("v1", 0.01)):
        spans, quality = spans_of(rng, n["B"], n["Q"]), rng.uniform(size=(n["B"], n["Q"], 1))
        spans[0, 0] = truth[0, 0] + [0.7, 0.5]
        spans[..., 1] *= narrow
        targets = np.zeros(spans.shape[:2])
        for b, q in itertools.product(range(n["B"]), range(n["Q"])):
            predicted = [min(max(end, 0.0), 1.0) for end in ends(spans[b, q])]
            targets[b, q] = max(iou(predicted, ends(window)) for window in truth[b, : counts[b]])
        bins = {"high": targets > 0.7, "middle": (targets > 0.3) & (targets <= 0.7), "low": targets <= 0.3}
        error = np.abs(quality[..., 0] - targets)
        losses = {name: error[inside].mean() if inside.any() else 0.0 for name, inside in bins.items()}
        values |= {f"input.{variant}.pred_spans": spans, f"input.{variant}.pred_quality": quality}
        values |= {f"loss.{variant}.{name}": loss for name, loss in losses.items()}
        values[f"loss.{variant}.total"] = sum(losses.values()) / 3
        values[f"output.{variant}.target_quality"] = targets
        values[f"output.{variant}.bucket_counts"] = np.array([inside.sum() for inside in bins.values()])
    return values, {}


def gtad_align(rng, n):
    features = rng.normal(size=(n["B"], n["D"], n["LV"]))
    start = rng.uniform(-4, n["LV"], 12)
    length = rng.uniform(0.1, 1.5 * n["LV"], 12)
    rois = np.stack((rng.integers(0, n["B"], 12), start, start + length), -1)
    values = {"input.features": features, "input.rois": rois}
    for bins, samples in ((3, 0), (5, 1), (2, 3)):
        pooled = np.zeros((len(rois), n["D"], bins))
        for (sample, first, last), out in zip(rois, pooled, strict=True):
            size = max(last - first, 1.0) / bins
            count = samples or math.ceil(size)
            for k, j in itertools.product(range(bins), range(count)):
                place = first + k * size + (j + 0.5) * size / count
                if -1 <= place <= n["LV"]:
                    place = max(place, 0.0)
                    low = min(math.floor(place), n["LV"] - 1)
                    high = min(low + 1, n["LV"] - 1)
                    share = place - low if high > low else 0.0
                    clips = features[int(sample)]
                    out[:, k] += ((1 - share) * clips[:, low] + share * clips[:, high]) / count
        name = f"bins{bins}_samp{samples}"
        values |= {f"output.{name}": pooled, f"input.grad_weights.{name}": rng.normal(size=pooled.shape)}
    return values, {}


def matcher(rng, n):
    queries = max(n["Q"], 4)
    truth, counts = windows(rng, n["B"])
    spans, logits = spans_of(rng, n["B"], queries), rng.normal(size=(n["B"], queries, 2))
    weights = {"cost_class": 3, "cost_span": 7, "cost_giou": 2, "eos_coef": 0.2}
    flat = [window for sample, count in zip(truth, counts, strict=True) for window in sample[:count]]
    cost = {name: np.zeros((n["B"], queries, len(flat))) for name in ("class", "span", "giou")}
    for b, q, t in itertools.product(range(n["B"]), range(queries), range(len(flat))):
        cost["class"][b, q, t] = -softmax(logits[b, q])[0]
        cost["span"][b, q, t] = np.abs(spans[b, q] - flat[t]).sum()
        cost["giou"][b, q, t] = -giou(ends(spans[b, q]), ends(flat[t]))
    total = sum(weights[f"cost_{name}"] * value for name, value in cost.items())
    rows, offset = [], 0
    for b, count in enumerate(counts.tolist()):
        best = min(
            itertools.permutations(range(queries), count),
            key=lambda chosen: sum(total[b, q, offset + t] for t, q in enumerate(chosen)),
        )
        rows += sorted((b, q, t) for t, q in enumerate(best))
        offset += count
    pairs = [(spans[b, q], truth[b, t]) for b, q, t in rows]
    matched = {(b, q) for b, q, _ in rows}
    label = sum(
        -math.log(softmax(logits[b, q])[0]) if (b, q) in matched else -0.2 * math.log(softmax(logits[b, q])[1])
        for b, q in itertools.product(range(n["B"]), range(queries))
    )
    values = {"input.pred_spans": spans, "input.pred_logits": logits}
    values |= {"target.spans": truth, "target.num_spans": counts, "output.assignment": np.array(rows)}
    values |= {f"output.cost_{name}": value for name, value in cost.items()} | {"output.cost_total": total}
    values["loss.span_l1"] = np.mean([np.abs(p - t).mean() for p, t in pairs])
    values["loss.span_giou"] = np.mean([1 - giou(ends(p), ends(t)) for p, t in pairs])
    values["loss.label"] = label / (n["B"] * queries)
    values["loss.class_error"] = 100 * np.mean([logits[b, q, 0] < logits[b, q, 1] for b, q, _ in rows])
    return values, weights


def qd_saliency(rng, n):
    values, options = {}, {"saliency_margin": 0.3, "tau": 0.4}
    for variant, highest in (("v0", 12), ("v1", 5)):
        mask = prefix_mask(rng, n["B"], n["LV"])
        labels = rng.integers(0, highest + 1, mask.shape) * mask
        labels[-1] *= variant == "v0"
        own, other = rng.normal(size=mask.shape), rng.normal(size=mask.shape)
        positive, negative = rng.integers(0, 2, (2, n["B"], 2))
        hinges = [
            max(0.0, 0.3 + own[b, negative[b, k]] - own[b, positive[b, k]])
            for b, k in itertools.product(range(n["B"]), range(2))
        ]
        rank, pair = 0.0, 0.0
        for b in range(n["B"]):
            valid = np.flatnonzero(mask[b])
            highest = max(*own[b, valid], *other[b, valid]) / 0.4
            pool = sum(math.exp(x / 0.4 - highest) for x in (*own[b, valid], *other[b, valid])) + 1e-6
            pair -= sum(math.log(1 - sigmoid(other[b, i])) for i in valid) / n["B"]
            for level in range(1, 12):
                above = [own[b, i] / 0.4 - highest - math.log(pool) for i in valid if labels[b, i] >= level]
                rank -= sum(above) / (len(above) + 1e-6) / n["B"] / 12
        losses = {"hinge": 2 * np.mean(hinges), "rank_contrastive": rank, "negative_pair": pair}
        inputs = {"scores": own, "scores_neg": other, "video_mask": mask}
        targets = {"all": labels, "pos": positive, "neg": negative}
        values |= {f"input.{variant}.{name}": value for name, value in inputs.items()}
        values |= {f"target.{variant}.saliency_{name}_labels": value for name, value in targets.items()}
        values |= {f"loss.{variant}.{name}": loss for name, loss in losses.items()}
        values[f"loss.{variant}.total"] = sum(losses.values())
    return values, options


def tr_align(rng, n):
    video, text = rng.normal(size=(2, n["B"], n["D"]))
    clips, words = rng.normal(size=(n["B"], n["LV"], n["D"])), rng.normal(size=(n["B"], n["LT"], n["D"]))
    masks = [prefix_mask(rng, n["B"], n[key]) for key in ("LV", "LT")]
    relevant = (rng.uniform(size=masks[0].shape) < 0.4) * masks[0]
    logits = unit(video) @ unit(text).T / 0.1

    def clip_text(video_mask, text_mask):
        terms = []
        for b, i in itertools.product(range(n["B"]), range(n["LV"])):
            chosen = text_mask[b] == 1
            similarity = unit(clips[b, i]) @ unit(words[b, chosen]).mean(0) / 0.1 * video_mask[b, i]
            probability = sigmoid(similarity)
            terms.append(-math.log(probability if relevant[b, i] else 1 - probability))
        return np.mean(terms)

    values = {
        "input.vid_global": video,
        "input.txt_global": text,
        "input.vid_feat": clips,
        "input.txt_feat": words,
        "input.vid_mask": masks[0],
        "input.txt_mask": masks[1],
        "input.pos_mask": relevant,
        "loss.video_text": (cross_entropy(logits) + cross_entropy(logits.T)) / 2,
        "loss.clip_text": clip_text(*masks),
        "loss.clip_text_without_masks": clip_text(np.ones_like(masks[0]), np.ones_like(masks[1])),
    }
    return values, {"temperature": 0.1}


def univtg_contrast(rng, n):
    clips, text = rng.normal(size=(n["B"], n["LV"], n["D"])), rng.normal(size=(n["B"], 1, n["D"]))
    mask, labels = prefix_mask(rng, n["B"], n["LV"]), rng.integers(0, 4, (n["B"], n["LV"])).astype(float)
    positive = np.array([rng.integers(0, row.sum()) for row in mask.astype(int)])
    rows = np.arange(n["B"])
    similarity = unit(clips[rows, positive]) @ unit(text[:, 0]).T / 0.1
    candidates = (mask == 1) & (labels < labels[rows, positive][:, None])
    candidates[rows, positive] = True
    own = np.array([unit(clips[b]) @ unit(text[b, 0]) / 0.1 for b in rows])
    over_clips = [-math.log(math.exp(own[b, positive[b]]) / np.exp(own[b, candidates[b]]).sum()) for b in rows]
    over_batch = []
    for b in rows:
        beside = [other for other in rows if candidates[other, positive[b]]]
        over_batch.append(-math.log(math.exp(own[b, positive[b]]) / np.exp(own[beside, positive[b]]).sum()))
    losses = {"inter_video_to_text": cross_entropy(similarity), "inter_text_to_video": cross_entropy(similarity.T)}
    losses |= {"intra_over_clips": np.mean(over_clips), "intra_over_batch": np.mean(over_batch)}
    losses["inter"] = losses["inter_video_to_text"] + losses["inter_text_to_video"]
    losses["intra"] = losses["intra_over_clips"] + losses["intra_over_batch"]
    values = {"input.vid_mem_proj": clips, "input.txt_mem_proj": text, "target.timestamp_mask": mask}
    values |= {"target.saliency_scores": labels, "target.saliency_pos_labels": np.stack((positive, positive * 0), -1)}
    values |= {"output.positive_clip": positive, "output.intra_candidates": candidates}
    return values | {f"loss.{name}": loss for name, loss in losses.items()}, {"temperature": 0.1}


def uvcom_local(rng, n):
    video, mask = rng.normal(size=(n["B"], n["LV"], n["D"])), prefix_mask(rng, n["B"], n["LV"])
    values = {"input.video": video, "input.video_mask": mask, "input.grad_weights": rng.normal(size=video.shape)}
    x = video * mask[..., None]
    for layer, taps in enumerate((1, 3, 1)):
        weight, bias = rng.normal(size=(n["D"], n["D"], taps)), rng.normal(size=n["D"])
        values |= {f"weight.{layer}.weight": weight, f"weight.{layer}.bias": bias}
        around = np.pad(x, ((0, 0), (taps // 2, taps // 2), (0, 0)))
        x = bias + sum(around[:, k : k + n["LV"]] @ weight[:, :, k].T for k in range(taps))
    return values | {"output.conv": x, "output.local": video + x}, {}


COMPONENTS = {
    function.__name__: function
    for function in (
        bam_quality,
        dab_cross_attention,
        eatr_gate,
        gtad_align,
        matcher,
        qd_saliency,
        sine_anchor,
        sine_time,
        tr_align,
        univtg_contrast,
        uvcom_local,
    )
}
