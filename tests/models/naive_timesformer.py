"""TimeSformer in plain numpy: loops over frames and places, in float64.

Written from the paper and the released code's order of operations, independently of the package.
`time` is (F, D), the embeddings of time; frame t of T takes number t * F // T.
"""

import naive_vit
import numpy as np
from naive_vit import Array, State


def divided(state: State, time: Array, clip: Array, *, heads: int) -> Array:
    """The class token of a clip (T, 3, H, W) after divided attention."""
    cls, patches = _embed(state, time, clip)
    for block in naive_vit.blocks(state):
        patches = _over_time(block, patches, heads)
        cls, patches = _over_space(block, cls, patches, heads)
        cls = cls + _mlp(block, cls[None])[0]
        patches = np.stack([x + _mlp(block, x) for x in patches])
    return naive_vit.norm(state, "norm", cls[None])[0]


def joint(state: State, time: Array, clip: Array, *, heads: int) -> Array:
    """The class token of a clip whose tokens all attend to all."""
    cls, patches = _embed(state, time, clip)
    x = np.concatenate([cls[None], *patches])
    return naive_vit.norm(state, "norm", _plain(state, x, heads))[0]


def space_only(state: State, clip: Array, *, heads: int) -> Array:
    """The norm of the mean class token of frames that do not meet."""
    frames = [_plain(state, naive_vit.embed(state, frame), heads) for frame in clip]
    return naive_vit.norm(state, "norm", np.mean(frames, axis=0))[0]


def _embed(state: State, time: Array, clip: Array) -> tuple[Array, Array]:
    frames = [naive_vit.embed(state, frame) for frame in clip]
    patches = [x[1:] + time[t * len(time) // len(clip)] for t, x in enumerate(frames)]
    return frames[0][0], np.stack(patches)


def _over_time(block: State, patches: Array, heads: int) -> Array:
    out = patches.copy()
    for n in range(patches.shape[1]):
        tube = naive_vit.norm(block, "temporal_norm1", patches[:, n])
        moved = naive_vit.attention(block, tube, heads, "temporal_attn")
        out[:, n] += moved @ block["temporal_fc.weight"].T + block["temporal_fc.bias"]
    return out


def _over_space(block: State, cls: Array, patches: Array, heads: int) -> tuple[Array, Array]:
    moved = []
    for frame in patches:
        x = np.concatenate([cls[None], frame])
        moved.append(naive_vit.attention(block, naive_vit.norm(block, "norm1", x), heads))
    mean = np.mean([each[0] for each in moved], axis=0)
    return cls + mean, np.stack([x + each[1:] for x, each in zip(patches, moved, strict=True)])


def _mlp(block: State, x: Array) -> Array:
    return naive_vit.mlp(block, naive_vit.norm(block, "norm2", x))


def _plain(state: State, x: Array, heads: int) -> Array:
    for block in naive_vit.blocks(state):
        x = x + naive_vit.attention(block, naive_vit.norm(block, "norm1", x), heads)
        x = x + _mlp(block, x)
    return x
