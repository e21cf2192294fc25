"""TimeSformer's block: attention over time, then over space (Bertasius et al., 2021, Eq. 10)."""

import copy
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import trunc_normal_
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from ivvit_cli.models.attention import LeanAttention
from ivvit_cli.models.in_place import views, write
from ivvit_cli.models.temporal.adopted import AdoptedBlock


class DividedBlock(AdoptedBlock):
    """A timm block with an attention over time before its own.

    Prefix tokens, one set per clip, take no part in attention over time. Over space they attend in
    every frame, and take the mean over the frames of what they get.

    Every frame holds a copy of them, so that its tokens lie together and nothing has to be
    permuted, repeated or joined. The price is T - 1 copies in the MLP, one token in two hundred.

    Args:
        block: the block over space, whose modules are kept.
        prefix: how many tokens come before the patches.
    """

    def __init__(self, block: Block, prefix: int) -> None:
        super().__init__(block)
        self.prefix = prefix
        self.mean = PrefixMean(prefix)  # made here, as compilers do not make it
        width = block.attn.proj.out_features
        self.temporal_norm1 = copy.deepcopy(block.norm1)
        self.temporal_attn = copy.deepcopy(block.attn)
        self.temporal_fc = nn.Linear(width, width)
        for linear in (self.temporal_attn.qkv, self.temporal_attn.proj, self.temporal_fc):
            trunc_normal_(linear.weight, std=0.02)
        nn.init.zeros_(self.temporal_fc.bias)

    def forward(self, x: Tensor, frames: int | None) -> Tensor:
        """Map tokens (B*T, P + N, D) to the same shape; an image is a clip of one frame.

        As in the code, drop path takes away whole tubes of T patches, whole frames, whole clips.
        """
        x = add_to_patches(x, self._over_time(self.temporal_norm1(x), frames))
        x = x + self.drop_path1(self.ls1(self.attn(self.norm1(x))))
        if frames is not None and self.prefix:
            x = share(x, frames, self.mean)
        moved = self.ls2(self.mlp(self.norm2(x)))
        out: Tensor = x + self.drop_path2(moved.view(x.shape[0] // (frames or 1), -1)).view(x.shape)
        return out

    def _over_time(self, x: Tensor, frames: int | None) -> Tensor:
        """Return what tokens (B*T, P + N, D) bring their patches, (B*T, N, D)."""
        patches = x[:, self.prefix :]
        if frames is None:
            moved = self.temporal_attn.finish(_values(self.temporal_attn, x), x)[:, self.prefix :]
        else:
            heads = _over_tubes(self.temporal_attn, x, frames, self.prefix)  # (B*T, heads, N, ...)
            moved = self.temporal_attn.finish(heads, patches)
        if self.training and not isinstance(self.drop_path1, nn.Identity):
            clips = moved.view(-1, frames or 1, *moved.shape[1:])  # (B, T, N, D)
            kept = self.drop_path1(moved.new_ones(len(clips) * moved.shape[1], 1))
            moved = (clips * kept.view(len(clips), 1, -1, 1)).flatten(0, 1)
        out: Tensor = self.temporal_fc(moved)
        return out


def _values(attn: LeanAttention, x: Tensor) -> Tensor:
    """Return what attention over one frame gives tokens (B, N, D): values (B, heads, N, ...)."""
    width = attn.qkv.out_features // 3
    bias = None if attn.qkv.bias is None else attn.qkv.bias[2 * width :]
    values = F.linear(x, attn.qkv.weight[2 * width :], bias)
    return values.view(*x.shape[:2], attn.num_heads, -1).transpose(1, 2)


def _over_tubes(attn: LeanAttention, x: Tensor, frames: int, prefix: int) -> Tensor:
    """Let every patch of tokens (B*T, P + N, D) attend to those at its place in other frames.

    With q, k and v of a head beside one another, the N places of a frame are N times as many heads,
    and no tensor has to be permuted: only the rows of the weights.

    Returns:
        (B*T, heads, N, head width).
    """
    heads, count = attn.num_heads, x.shape[1] - prefix
    bias = None if attn.qkv.bias is None else _by_head(attn.qkv.bias, heads)
    qkv = F.linear(x, _by_head(attn.qkv.weight, heads), bias)
    q, k, v, _ = views(qkv, partial(_tubes, frames=frames, prefix=prefix, heads=heads))
    out = attn.attend(attn.q_norm(q), attn.k_norm(k), v)  # (B, N * heads, T, head width)
    return out.transpose(1, 2).reshape(x.shape[0], count, heads, -1).transpose(1, 2)


def _by_head(rows: Tensor, heads: int) -> Tensor:
    """Reorder the rows (3*D, ...) of the layer of q, k and v: those of a head come together."""
    return rows.view(3, heads, -1, *rows.shape[1:]).transpose(0, 1).reshape(rows.shape)


def _tubes(qkv: Tensor, frames: int, prefix: int, heads: int) -> tuple[Tensor, ...]:
    """Return q, k and v (B, N * heads, T, head width) of (B*T, P + N, 3*D), and the prefix's."""
    clips = qkv.view(-1, frames, *qkv.shape[1:])  # (B, T, P + N, 3*D)
    own, patches = clips.tensor_split((prefix,), dim=2)
    width = qkv.shape[2] // (3 * heads)
    triples = patches.view(*patches.shape[:2], patches.shape[2] * heads, 3, width)
    q, k, v = triples.transpose(1, 2).unbind(3)
    return q, k, v, own


def add_to_patches(x: Tensor, moved: Tensor) -> Tensor:
    """Add (B, N, D) to the last N of tokens (B, P + N, D)."""
    if torch.compiler.is_compiling():
        return x + F.pad(moved, (0, 0, x.shape[1] - moved.shape[1], 0))
    added: Tensor = _AddToPatches.apply(x, moved)
    return added


class _AddToPatches(torch.autograd.Function):
    """The sum in one pass; its gradient is that of both, which autograd would copy."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, moved: Tensor) -> Tensor:
        ctx.prefix = x.shape[1] - moved.shape[1]
        out = torch.empty_like(x)
        out[:, : ctx.prefix] = x[:, : ctx.prefix]
        torch.add(x[:, ctx.prefix :], moved, out=out[:, ctx.prefix :])
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        return grad, grad[:, ctx.prefix :]


def share(x: Tensor, frames: int, mean: "PrefixMean") -> Tensor:
    """Give the prefix tokens of every frame of (B*T, N, D) the mean over their clip.

    Where no code is being compiled it is done in place: `x` is as `in_place.write` asks for it.
    """
    return mean(x, frames) if torch.compiler.is_compiling() else write(x, frames, mean)


@dataclass(frozen=True)
class PrefixMean:
    """Replaces the first `prefix` tokens of a frame by their mean over the clip; a `FrameMap`."""

    prefix: int

    def __call__(self, x: Tensor, frames: int) -> Tensor:
        """Return tokens (B*T, N, D) with their prefixes shared."""
        own, patches = x.tensor_split((self.prefix,), dim=1)
        clips = own.view(-1, frames, *own.shape[1:])  # (B, T, P, D)
        mean = clips.mean(1, keepdim=True).expand_as(clips).flatten(0, 1)
        return torch.cat((mean, patches), dim=1)

    def write(self, x: Tensor, frames: int) -> None:
        """Share the prefixes of tokens (B*T, N, D) in place."""
        own = x.view(-1, frames, *x.shape[1:])[:, :, : self.prefix]
        own.copy_(own.mean(1, keepdim=True))

    def write_transposed(self, x: Tensor, frames: int) -> None:
        """Share the gradients: the transposed mean is the mean."""
        self.write(x, frames)
