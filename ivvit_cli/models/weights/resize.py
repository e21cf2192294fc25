"""Embeddings of place, patch and time, resampled to a model's own sizes."""

import math

import torch
from timm.layers import resample_abs_pos_embed, resample_patch_embed
from torch import Tensor

from ivvit_cli.models.encoder import Encoder
from ivvit_cli.models.temporal.timesformer import nearest_frames
from ivvit_cli.models.temporal.tubelet import TubeletEncoder


def resize(name: str, given: Tensor, own: Tensor, encoder: Encoder) -> Tensor | None:
    """Resample a tensor of another shape; None where that cannot give `own`'s shape.

    A patch's kernel keeps its response to an enlarged patch (FlexiViT, Eq. 3); places are
    interpolated in two dimensions, bicubically; of times and tubelets' moments the nearest is
    taken.
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
    vit = encoder.vit
    prefix = 0 if vit.no_embed_class else vit.num_prefix_tokens
    grid = vit.patch_embed.grid_size
    if name.endswith(".pos_embed"):
        return _resize_places(given, grid, prefix)
    if name == "encoder.tubelet_pos" and isinstance(encoder, TubeletEncoder):
        return _resize_moments(given, encoder.tubes, grid, prefix)
    return None


def _resize_kernel(given: Tensor, own: Tensor) -> Tensor:
    resized: Tensor = resample_patch_embed(given, list(own.shape[2:]))
    return resized


def _resize_places(given: Tensor, grid: tuple[int, int], prefix: int) -> Tensor | None:
    side = math.isqrt(max(given.shape[1] - prefix, 0))
    if side == 0 or side**2 + prefix != given.shape[1]:
        return None
    resized: Tensor = resample_abs_pos_embed(
        given, list(grid), [side, side], num_prefix_tokens=prefix
    )
    return resized


def _resize_moments(given: Tensor, tubes: int, grid: tuple[int, int], prefix: int) -> Tensor | None:
    """Resample (1, P + moments*places, D) in time, where the places are as many, else in space."""
    own, places = given.tensor_split((prefix,), dim=1)
    width, count = given.shape[2], grid[0] * grid[1]
    if places.shape[1] % count == 0:
        moments = nearest_frames(places.reshape(1, -1, count * width), tubes)
        return torch.cat((own, moments.reshape(1, -1, width)), dim=1)
    if places.shape[1] % tubes:
        return None
    moments = places.reshape(tubes, -1, width)
    resized = _resize_places(moments, grid, 0)
    if resized is None:
        return None
    return torch.cat((own, resized.reshape(1, -1, width)), dim=1)
