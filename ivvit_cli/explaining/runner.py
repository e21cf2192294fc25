"""A file through a model, and the maps of its blocks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from timm.models.hiera import Hiera
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from ivvit_cli.errors import UsageError
from ivvit_cli.explaining.maps import (
    attention,
    motion,
    principal_colours,
    rollout,
    stretch,
    to_grid,
)
from ivvit_cli.explaining.pictures import Pixels, colour
from ivvit_cli.explaining.record import Seen, recorded
from ivvit_cli.models import JointModel
from ivvit_cli.models.adapters.am_flow import AmFlowAdditions
from ivvit_cli.models.adapters.encoder import AdaptedEncoder
from ivvit_cli.models.temporal.am_flow import AmFlow, make_flow

Kind = Literal["am-flow", "attention", "rollout"]
KINDS: tuple[Kind, ...] = ("am-flow", "attention", "rollout")


@dataclass(frozen=True)
class BlockMap:
    """The map of one block: its values (M, H, W) or (M, H, W, C), and their colours.

    M is the number of frames, or of tubelets.
    """

    values: NDArray[np.float32]
    colours: Pixels


def explain(
    model: JointModel,
    x: Tensor,
    dataset: str,
    *,
    kind: Kind,
    blocks: Sequence[int] | None = None,
    learned: bool = True,
) -> dict[int, BlockMap]:
    """Return the maps of blocks, by their number from 1.

    Args:
        x: an image (1, 3, H, W) or a clip (1, T, 3, H, W), normalised.
        dataset: whose adapters run, where datasets have their own.
        blocks: which; all by default.
        learned: take a model's own AM Flow, where it has one, with its aligning encoder; else the
            vanilla flow, which has no parameters.

    Raises:
        UsageError: the map is not defined here, or there is no such block.
    """
    with torch.no_grad():
        with recorded(model.encoder) as seen:
            model.eval().encoder(x, dataset)
        wanted = _chosen(blocks, seen)
        values = _values(model, seen, wanted, kind, dataset, x, learned)
    grids = {number: _grid(model.encoder.vit, number, values[number]).cpu() for number in wanted}
    return {number: BlockMap(grid.numpy(), _colours(grid)) for number, grid in grids.items()}


def _grid(vit: VisionTransformer | Hiera, number: int, values: Tensor) -> Tensor:
    """Lay what a block gives its tokens, (F, N) or (F, N, C), out as they lie in a frame."""
    if not isinstance(vit, Hiera):
        return to_grid(values, vit.num_prefix_tokens, vit.patch_embed.grid_size)
    channels = values.view(*values.shape[:2], -1)
    grid: Tensor = vit.reroll(channels, number - 1)  # (F, H, W, C)
    return grid.view(*grid.shape[:3], *values.shape[2:])


def _chosen(blocks: Sequence[int] | None, seen: Mapping[int, Seen]) -> list[int]:
    wanted = sorted(set(blocks or seen))
    if absent := [number for number in wanted if number not in seen]:
        known = ", ".join(map(str, sorted(seen)))
        raise UsageError(f"block {absent[0]}: there are maps of blocks {known}")
    return wanted


def _values(
    model: JointModel,
    seen: Mapping[int, Seen],
    wanted: Sequence[int],
    kind: Kind,
    dataset: str,
    x: Tensor,
    learned: bool,
) -> dict[int, Tensor]:
    token = bool(model.encoder.vit.has_class_token)
    if kind == "attention":
        return {number: attention(seen[number], class_token=token) for number in wanted}
    if kind == "rollout":
        if isinstance(model.encoder.vit, Hiera):
            raise UsageError("rollout: is not defined where tokens are pooled between blocks")
        last = max(wanted)
        maps = rollout([seen[n] for n in range(1, last + 1)], class_token=token)
        return {number: maps[number - 1] for number in wanted}
    if x.ndim != 5 or x.shape[1] < 2:
        raise UsageError("am-flow: is of a frame and the next, and an image has none")
    if len(seen[wanted[0]].q) != x.shape[1]:
        raise UsageError("am-flow: needs attention within each frame, not over all frames at once")
    own = _own_flows(model, dataset) if learned else {}
    vit = model.encoder.vit
    flows = {n: own.get(n) or make_flow(vit, n - 1, "vanilla") for n in wanted}
    return {n: motion(seen[n], flow) for n, flow in flows.items() if flow is not None}


def _own_flows(model: JointModel, dataset: str) -> dict[int, AmFlow]:
    """Return the AM Flows that a model has learned to use, by block from 1."""
    encoder = model.encoder
    additions = encoder.additions(dataset) if isinstance(encoder, AdaptedEncoder) else None
    if not isinstance(additions, AmFlowAdditions):
        return {}
    flows = enumerate((block.flow for block in additions.blocks), start=1)
    return {number: flow for number, flow in flows if isinstance(flow, AmFlow)}


def _colours(grid: Tensor) -> Pixels:
    if grid.ndim == 3:
        return colour(stretch(grid).numpy())
    if grid.shape[3] == 1:
        return colour(stretch(grid[..., 0]).numpy())
    return (principal_colours(grid) * 255).round().to(torch.uint8).numpy()
