"""A Vision Transformer with TokenShift in plain numpy: loops over clips, frames, heads, channels.

Written from the papers, independently of the package; slow, in float64.
"""

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
State = dict[str, Array]

_erf = np.vectorize(math.erf)


def shift(tokens: Array, fold_div: int, layout: str) -> Array:
    """TokenShift of one clip's tokens (T, N, D), channel by channel."""
    frames, _, width = tokens.shape
    fold = width // fold_div
    out = tokens.copy()
    for t in range(frames):
        for d in range(2 * fold):
            step = 1 if (d < fold) == (layout == "official") else -1
            inside = 0 <= t + step < frames
            out[t, 0, d] = tokens[t + step, 0, d] if inside else 0.0
    return out


def clip_feature(state: State, clip: Array, *, heads: int, fold_div: int, layout: str) -> Array:
    """The mean class token of a clip (T, 3, H, W), shifted before both branches of every block."""
    tokens = np.stack([_embed(state, frame) for frame in clip])
    depth = len({name.split(".")[1] for name in state if name.startswith("blocks.")})
    for i in range(depth):
        block = {
            name.removeprefix(f"blocks.{i}."): value
            for name, value in state.items()
            if name.startswith(f"blocks.{i}.")
        }
        tokens = shift(tokens, fold_div, layout)
        tokens = np.stack([x + _attention(block, _norm(block, "norm1", x), heads) for x in tokens])
        tokens = shift(tokens, fold_div, layout)
        tokens = np.stack([x + _mlp(block, _norm(block, "norm2", x)) for x in tokens])
    return np.mean([_norm(state, "norm", x)[0] for x in tokens], axis=0)


def _embed(state: State, image: Array) -> Array:
    kernel = state["patch_embed.proj.weight"]
    size = kernel.shape[-1]
    rows = [state["cls_token"][0, 0]]
    for top in range(0, image.shape[1], size):
        for left in range(0, image.shape[2], size):
            patch = image[:, top : top + size, left : left + size]
            rows.append((kernel * patch).sum((1, 2, 3)) + state["patch_embed.proj.bias"])
    return np.stack(rows) + state["pos_embed"][0]


def _attention(block: State, x: Array, heads: int) -> Array:
    count, width = x.shape
    each = width // heads
    qkv = x @ block["attn.qkv.weight"].T + block["attn.qkv.bias"]
    q, k, v = np.split(qkv, 3, axis=1)
    out = np.empty_like(x)
    for head in range(heads):
        part = slice(head * each, (head + 1) * each)
        for n in range(count):
            scores = np.array([q[n, part] @ k[m, part] for m in range(count)]) / math.sqrt(each)
            weights = np.exp(scores - scores.max())
            out[n, part] = weights @ v[:, part] / weights.sum()
    return out @ block["attn.proj.weight"].T + block["attn.proj.bias"]


def _mlp(block: State, x: Array) -> Array:
    hidden = x @ block["mlp.fc1.weight"].T + block["mlp.fc1.bias"]
    hidden = hidden * 0.5 * (1 + _erf(hidden / math.sqrt(2)))
    return hidden @ block["mlp.fc2.weight"].T + block["mlp.fc2.bias"]


def _norm(state: State, name: str, x: Array) -> Array:
    mean, variance = x.mean(1, keepdims=True), x.var(1, keepdims=True)
    scaled = (x - mean) / np.sqrt(variance + 1e-6)
    return scaled * state[f"{name}.weight"] + state[f"{name}.bias"]
