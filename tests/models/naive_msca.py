"""MSCA in plain numpy: loops over frames, tensors, heads and tokens, in float64.

Written from the paper's Eq. 17-23, independently of the package.
"""

from typing import Any

import naive_vit
import numpy as np
from naive_vit import Array, State


def clip_feature(state: State, clip: Array, *, heads: int, **options: Any) -> Array:
    """The mean class token of a clip (T, 3, H, W) with MSCA in every block."""
    tokens = np.stack([naive_vit.embed(state, frame) for frame in clip])
    for block in naive_vit.blocks(state):
        normed = np.stack([naive_vit.norm(block, "norm1", x) for x in tokens])
        tokens = tokens + attention(block, normed, heads=heads, **options)
        tokens = np.stack(
            [x + naive_vit.mlp(block, naive_vit.norm(block, "norm2", x)) for x in tokens]
        )
    return np.mean([naive_vit.norm(state, "norm", x)[0] for x in tokens], axis=0)


def attention(
    block: State,
    x: Array,
    *,
    heads: int,
    variant: str,
    backward: int,
    forward: int,
    boundary: str,
    layout: str,
) -> Array:
    """The cross-attention of one clip's normalised tokens (T, N, D)."""
    frames, count, width = x.shape
    each = width // heads
    by_token = variant.startswith("p")
    qkv = x @ block["attn.qkv.weight"].T + block["attn.qkv.bias"]
    own = dict(zip("QKV", np.split(qkv, 3, axis=2), strict=True))
    out = np.empty_like(x)
    for t in range(frames):
        mixed = {name: y[t].copy() for name, y in own.items()}
        for name in variant.removeprefix("p"):
            size = count if by_token else heads
            for i in range(size):
                head = slice(i * each, (i + 1) * each)
                part = (i, slice(None)) if by_token else (slice(None), head)
                step = _step(i, size, backward, forward, layout)
                if 0 <= t + step < frames:
                    mixed[name][part] = own[name][t + step][part]
                elif boundary == "zero":
                    mixed[name][part] = 0.0
        out[t] = naive_vit.attend(mixed["Q"], mixed["K"], mixed["V"], heads)
    return out @ block["attn.proj.weight"].T + block["attn.proj.bias"]


def _step(i: int, size: int, backward: int, forward: int, layout: str) -> int:
    """Which frame, relative to its own, head or token i comes from."""
    if layout == "paper":
        order = [-1] * backward + [1] * forward
    elif layout == "adjacent":
        order = [1] * forward + [-1] * backward
    else:
        order = [1] * forward + [0] * (size - forward - backward) + [-1] * backward
    return order[i] if i < len(order) else 0
