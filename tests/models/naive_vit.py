"""A Vision Transformer with TokenShift in plain numpy: loops over clips, frames, heads, channels.

Written from the papers, independently of the package; slow, in float64.
"""

import math
from collections.abc import Iterator

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
    tokens = np.stack([embed(state, frame) for frame in clip])
    for block in blocks(state):
        tokens = shift(tokens, fold_div, layout)
        tokens = np.stack([x + attention(block, norm(block, "norm1", x), heads) for x in tokens])
        tokens = shift(tokens, fold_div, layout)
        tokens = np.stack([x + mlp(block, norm(block, "norm2", x)) for x in tokens])
    return np.mean([norm(state, "norm", x)[0] for x in tokens], axis=0)


def blocks(state: State) -> Iterator[State]:
    """The tensors of each block, by their names in it."""
    for i in range(len({name.split(".")[1] for name in state if name.startswith("blocks.")})):
        prefix = f"blocks.{i}."
        yield {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


def embed(state: State, image: Array) -> Array:
    kernel = state["patch_embed.proj.weight"]
    size = kernel.shape[-1]
    rows = [state["cls_token"][0, 0]]
    for top in range(0, image.shape[1], size):
        for left in range(0, image.shape[2], size):
            patch = image[:, top : top + size, left : left + size]
            rows.append((kernel * patch).sum((1, 2, 3)) + state["patch_embed.proj.bias"])
    return np.stack(rows) + state["pos_embed"][0]


def attention(block: State, x: Array, heads: int, name: str = "attn") -> Array:
    """Multi-head self-attention of tokens (N, D)."""
    qkv = x @ block[f"{name}.qkv.weight"].T + block[f"{name}.qkv.bias"]
    out = attend(*np.split(qkv, 3, axis=1), heads)
    return out @ block[f"{name}.proj.weight"].T + block[f"{name}.proj.bias"]


def attend(q: Array, k: Array, v: Array, heads: int) -> Array:
    """The heads' outputs (N, D) of q, k and v (N, D), query by query."""
    out = np.empty_like(q)
    each = q.shape[1] // heads
    for head in range(heads):
        part = slice(head * each, (head + 1) * each)
        for n in range(len(q)):
            scores = np.array([q[n, part] @ key for key in k[:, part]]) / math.sqrt(each)
            weights = np.exp(scores - scores.max())
            out[n, part] = weights @ v[:, part] / weights.sum()
    return out


def mlp(block: State, x: Array) -> Array:
    hidden = x @ block["mlp.fc1.weight"].T + block["mlp.fc1.bias"]
    hidden = hidden * 0.5 * (1 + _erf(hidden / math.sqrt(2)))
    return hidden @ block["mlp.fc2.weight"].T + block["mlp.fc2.bias"]


def norm(state: State, name: str, x: Array) -> Array:
    mean, variance = x.mean(1, keepdims=True), x.var(1, keepdims=True)
    scaled = (x - mean) / np.sqrt(variance + 1e-6)
    return scaled * state[f"{name}.weight"] + state[f"{name}.bias"]
