"""Embeddings of place, patch and time, resampled to a model's own sizes."""

import math
from collections.abc import Mapping

import torch
from timm.layers import resample_abs_pos_embed, resample_patch_embed
from torch import Tensor

from ivvit_cli.models.encoder import Encoder
from ivvit_cli.models.temporal.timesformer import nearest_frames
from ivvit_cli.models.temporal.tubelet import TubeletEncoder


def find_side(state: Mapping[str, Tensor], encoder: Encoder) -> int | None:
    """Return the side of a source's grid of patches, as its places of images tell; else None."""
    given = state.get("encoder.vit.pos_embed")
    return None if given is None or given.ndim != 3 else _side(given.shape[1] - _prefix(encoder))


def resize(
    name: str, given: Tensor, own: Tensor, encoder: Encoder, side: int | None = None
) -> Tensor | None:
    """Resample a tensor of another shape; None where that cannot give `own`'s shape.

    A patch's kernel keeps its response to an enlarged patch (FlexiViT, Eq. 3); places are
    interpolated in two dimensions, bicubically; of times and tubelets' moments the nearest is
    taken.

    Args:
        side: of the source's grid of patches, where it is known: embeddings of N tubelets may be
            of few moments of many places, or of many of few.
    """
    if given.ndim != own.ndim or given.numel() == 0:
        return None
    if name.endswith(".patch_embed.proj.weight") and given.shape[:2] == own.shape[:2]:
        return _resize_kernel(given, own)
    if name == "encoder.tubelet_embed.weight" and given.shape[:3] == own.shape[:3]:
        return _resize_kernel(given.flatten(1, 2), own.flatten(1, 2)).view(own.shape)
    if given.shape[::2] != own.shape[::2] or given.ndim != 3:
        return None
    if name == "encoder.time_embed":
        return nearest_frames(given, own.shape[1])
    prefix, grid = _prefix(encoder), encoder.vit.patch_embed.grid_size
    if name.endswith(".pos_embed"):
        return _resize_places(given, grid, prefix)
    if name == "encoder.tubelet_pos" and isinstance(encoder, TubeletEncoder):
        return _resize_moments(given, encoder.tubes, grid, prefix, side)
    return None


def _prefix(encoder: Encoder) -> int:
    """Return how many of a ViT's embeddings of place are those of prefix tokens."""
    vit = encoder.vit
    return 0 if vit.no_embed_class else int(vit.num_prefix_tokens)


def _side(places: int) -> int | None:
    """Return the side of a square of so many places; None where they are none."""
    side = math.isqrt(max(places, 0))
    return side if side and side**2 == places else None


def _resize_kernel(given: Tensor, own: Tensor) -> Tensor:
    resized: Tensor = resample_patch_embed(given, list(own.shape[2:]))
    return resized


def _resize_places(given: Tensor, grid: tuple[int, int], prefix: int) -> Tensor | None:
    side = _side(given.shape[1] - prefix)
    if side is None:
        return None
    resized: Tensor = resample_abs_pos_embed(
        given, list(grid), [side, side], num_prefix_tokens=prefix
    )
    return resized


def _resize_moments(
    given: Tensor, tubes: int, grid: tuple[int, int], prefix: int, side: int | None
) -> Tensor | None:
    """Resample (1, P + moments*places, D) in time, then in space."""
    own, places = given.tensor_split((prefix,), dim=1)
    side = side or _guess_side(places.shape[1], tubes, grid)
    if side is None or places.shape[1] % side**2:
        return None
    width = given.shape[2]
    moments = nearest_frames(places.reshape(1, -1, side**2 * width), tubes)
    if (side, side) != tuple(grid):
        # As channels, all moments at once: timm takes one grid, and would mix a batch of them.
        channels = moments.view(tubes, -1, width).transpose(0, 1).reshape(1, -1, tubes * width)
        resized = resample_abs_pos_embed(channels, list(grid), [side, side], num_prefix_tokens=0)
        moments = resized.view(-1, tubes, width).transpose(0, 1)
    return torch.cat((own, moments.reshape(1, -1, width)), dim=1)


def _guess_side(count: int, tubes: int, grid: tuple[int, int]) -> int | None:
    """Return the source's side where either its grid or its moments are as many as the model's.

    None where both could be: 16 moments of 14 x 14 are as many as 64 of 7 x 7.
    """
    same_grid = grid[0] if count % (grid[0] * grid[1]) == 0 else None
    same_moments = _side(count // tubes) if count % tubes == 0 else None
    sides = {side for side in (same_grid, same_moments) if side}
    return sides.pop() if len(sides) == 1 else None
