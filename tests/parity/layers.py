"""The authors' decoder layers in plain numpy: DAB-DETR's as QD-DETR has it, and EaTR's first one with its gate."""

import math

import numpy as np

from tests.parity.arithmetic import prefix_mask, sigmoid, softmax


def attention(query, key, value, heads, visible=None):
    """(N, k), (M, k), (M, d) without projections -> (N, d); ``visible`` (M,)."""
    mixed = []
    for q, k, v in zip(*(np.split(x, heads, -1) for x in (query, key, value)), strict=True):
        logits = q @ k.T / math.sqrt(q.shape[-1])
        logits = logits if visible is None else np.where(visible, logits, -np.inf)
        mixed.append(softmax(logits) @ v)
    return np.concatenate(mixed, -1)


def norm(x, weight, bias):
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * weight + bias


class Layer:
    """The authors' decoder layer with drawn weights, one sample at a time."""

    def __init__(self, rng, n, first, gated):
        d, shapes = n["D"], {}
        for x in ("sa_qcontent", "sa_qpos", "sa_kcontent", "sa_kpos", "sa_v", "ca_qcontent", "ca_kcontent", "ca_kpos"):
            shapes[f"{x}_proj"] = (d, d)
        shapes |= dict.fromkeys(("ca_v_proj", "ca_qpos_sine_proj", "self_attn.out_proj", "cross_attn.out_proj"), (d, d))
        shapes |= {"ca_qpos_proj": (d, d)} if first else {}
        shapes |= {"linear1": (n["FF"], d), "linear2": (d, n["FF"]), "norm1": (d,), "norm2": (d,), "norm3": (d,)}
        if gated:
            shapes |= {f"gate_{x}_attn.out_proj": (d, d) for x in ("cross", "self")}
            shapes |= {"gate_linear": (d, d), "gate_norm": (d,)}
        self.weights = {}
        for name, shape in shapes.items():
            self.weights[f"{name}.weight"] = 0.5 * rng.normal(size=shape)
            self.weights[f"{name}.bias"] = 0.1 * rng.normal(size=shape[0])
        if gated:
            for x in ("cross", "self"):
                self.weights[f"gate_{x}_attn.in_proj_weight"] = 0.5 * rng.normal(size=(3 * d, d))
                self.weights[f"gate_{x}_attn.in_proj_bias"] = 0.1 * rng.normal(size=3 * d)
        else:
            self.weights["activation.weight"] = np.array([0.3])
        self.heads, self.first, self.gated = n["H"], first, gated

    def linear(self, name, x):
        return x @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]

    def norm(self, name, x):
        return norm(x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])

    def packed(self, name, query, key, value):
        weights = np.split(self.weights[f"{name}.in_proj_weight"], 3)
        biases = np.split(self.weights[f"{name}.in_proj_bias"], 3)
        projected = [x @ w.T + b for x, w, b in zip((query, key, value), weights, biases, strict=True)]
        return self.linear(f"{name}.out_proj", attention(*projected, 1))

    def gate(self, content, text):
        attended = self.packed("gate_cross_attn", content, text, text)
        both = content + attended
        mixed = self.packed("gate_self_attn", both, both, both)
        gated = self.linear("gate_linear", sigmoid(content * attended) * mixed)
        return attended, mixed, self.norm("gate_norm", content + np.maximum(gated, 0))

    def __call__(self, content, position, sine, memory, time, padding, text=None):
        query = self.linear("sa_qcontent_proj", content) + self.linear("sa_qpos_proj", position)
        key = self.linear("sa_kcontent_proj", content) + self.linear("sa_kpos_proj", position)
        mixed = attention(query, key, self.linear("sa_v_proj", content), self.heads)
        content = self.norm("norm1", content + self.linear("self_attn.out_proj", mixed))
        content = self.gate(content, text)[2] if self.gated else content
        query, key = self.linear("ca_qcontent_proj", content), self.linear("ca_kcontent_proj", memory)
        place = self.linear("ca_kpos_proj", time)
        if self.first:
            query, key = query + self.linear("ca_qpos_proj", position), key + place
        halves = ((query, self.linear("ca_qpos_sine_proj", sine)), (key, place))
        query, key = (
            np.concatenate([part for pair in zip(*(np.split(x, self.heads, -1) for x in half), strict=True)
                            for part in pair], -1)
            for half in halves
        )  # fmt: skip
        mixed = attention(query, key, self.linear("ca_v_proj", memory), self.heads, ~padding)
        content = self.norm("norm2", content + self.linear("cross_attn.out_proj", mixed))
        hidden = self.linear("linear1", content)
        hidden = np.maximum(hidden, 0) + (0 if self.gated else 0.3) * np.minimum(hidden, 0)
        return self.norm("norm3", content + self.linear("linear2", hidden))


def layer_inputs(rng, n):
    shapes = {"tgt": "Q", "query_pos": "Q", "query_sine_embed": "Q", "memory": "LV", "pos": "LV"}
    inputs = {name: rng.normal(size=(n[length], n["B"], n["D"])) for name, length in shapes.items()}
    return inputs, prefix_mask(rng, n["B"], n["LV"]) == 0


def by_sample(layer, inputs, padding, texts=None):
    samples = range(len(padding))
    more = [() if texts is None else (texts[:, b],) for b in samples]
    return np.stack([layer(*(x[:, b] for x in inputs.values()), padding[b], *more[b]) for b in samples], 1)


def dab_cross_attention(rng, n):
    values = {}
    for variant, first in (("v0", True), ("v1", False), ("v2", False)):
        layer, (inputs, padding) = Layer(rng, n, first, gated=False), layer_inputs(rng, n)
        values |= {f"weight.{variant}.{name}": value for name, value in layer.weights.items()}
        values |= {f"input.{variant}.{name}": value for name, value in inputs.items()}
        values[f"input.{variant}.memory_key_padding_mask"] = padding
        values[f"output.{variant}.tgt"] = by_sample(layer, inputs, padding)
        values[f"input.{variant}.grad_weights"] = rng.normal(size=inputs["tgt"].shape)
    return values, {}


def eatr_gate(rng, n):
    layer, (inputs, padding) = Layer(rng, n, first=True, gated=True), layer_inputs(rng, n)
    content, text = rng.normal(size=inputs["tgt"].shape), rng.normal(size=(1, n["B"], n["D"]))
    parts = [np.stack(x, 1) for x in zip(*(layer.gate(content[:, b], text[:, b]) for b in range(n["B"])), strict=True)]
    names = ("output.text_attended", "output.self_attended", "output.gated")
    values = {f"weight.{name}": value for name, value in layer.weights.items()} | dict(zip(names, parts, strict=True))
    values |= {f"input.full.{name}": value for name, value in inputs.items()}
    values |= {"input.full.memory_key_padding_mask": padding, "input.content": content, "input.text_global": text}
    values["input.grad_weights"] = rng.normal(size=content.shape)
    return values | {"output.full.tgt": by_sample(layer, inputs, padding, text)}, {}
