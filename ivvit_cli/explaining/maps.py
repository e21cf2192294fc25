"""Maps of what a block looks at, as pure functions of its queries and keys.

All return (F, N) or (F, N, C): a value, or C values, for each of the N tokens of F frames.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from ivvit_cli.explaining.record import Seen
from ivvit_cli.models.temporal.am_flow import AmFlow


def attention(seen: Seen, *, class_token: bool) -> Tensor:
    """Return how much the class token attends to each token, the mean over heads: (F, N).

    Args:
        class_token: whether token 0 is one; without, it is the mean over all queries.
    """
    queries = seen.q[:, :, :1] if class_token else seen.q
    weights = (queries @ seen.k.mT * seen.scale).softmax(-1)  # (F, heads, 1 | N, N)
    return weights.mean((1, 2))


def rollout(blocks: Iterable[Seen], *, class_token: bool) -> list[Tensor]:
    """Return, after each block, how much of every token is in the class token: (F, N) each.

    The attention of a block is the mean over heads, and half of a token comes round it by the
    residual connection (Abnar and Zuidema, Quantifying Attention Flow in Transformers, ACL 2020).

    Args:
        class_token: whether token 0 is one; without, it is the mean over all tokens.
    """
    flow, maps = None, []
    for seen in blocks:
        weights = (seen.q @ seen.k.mT * seen.scale).softmax(-1).mean(1)  # (F, N, N)
        half = (weights + torch.eye(weights.shape[-1], device=weights.device)) / 2
        flow = half if flow is None else half @ flow
        maps.append(flow[:, 0] if class_token else flow.mean(1))
    return maps


def motion(seen: Seen, flow: AmFlow) -> Tensor:
    """Return the AM Flow of every frame to the next, (F, N, C) (arXiv 2411.02065, Eq. 2-5)."""
    values: Tensor = flow(seen.q, seen.k, len(seen.q), seen.scale)
    return values


def to_grid(values: Tensor, prefix: int, grid: tuple[int, int]) -> Tensor:
    """Lay the patches of (F, P + N, …) out as they lie in a frame: (M, H, W, …).

    Where one attention has all tokens of a clip, F is 1 and N is M times H * W.
    """
    patches = values[:, prefix:]
    return patches.reshape(-1, *grid, *values.shape[2:])


def principal_colours(values: Tensor) -> Tensor:
    """Return C values per patch (M, H, W, C) as three from 0 to 1: (M, H, W, 3).

    They are the first principal components over all patches of all frames, each from its smallest
    to its largest value (the colours of AM Flow's Figure 5). With fewer than three components the
    last ones are 0. The sign of a component makes its largest weight positive.
    """
    rows = values.flatten(0, 2).double()
    centred = rows - rows.mean(0)
    _, _, directions = torch.linalg.svd(centred, full_matrices=False)
    directions = directions[:3]  # (<= 3, C)
    largest = directions.gather(1, directions.abs().argmax(1, keepdim=True))
    shown = centred @ (directions * largest.sign()).T
    colours = torch.zeros(len(rows), 3, dtype=torch.float64, device=rows.device)
    colours[:, : shown.shape[1]] = stretch(shown, 0)
    return colours.view(*values.shape[:3], 3).float()


def stretch(values: Tensor, dim: int | None = None) -> Tensor:
    """Scale values so that they go from 0 to 1; all 0 where they are all one, but for rounding."""
    least = values.amin() if dim is None else values.amin(dim, keepdim=True)
    most = values.amax() if dim is None else values.amax(dim, keepdim=True)
    span = most - least
    real = span > 1e-6 * torch.maximum(least.abs(), most.abs())
    return torch.where(real, (values - least) / span.where(real, 1), 0)
