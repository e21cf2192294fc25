"""MSCA: some heads, or some tokens, take queries, keys or values from the frames before and after.

Hashiguchi and Tamaki, Temporal Cross-attention for Action Recognition, ACCV Workshops 2022,
Eq. 10-23. The attention is scaled by the root of a head's width, as in every pretrained ViT; the
root of the model's width in Eq. 14 is a slip.
"""

import re

import torch
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

from ivvit_cli.errors import UsageError
from ivvit_cli.models.attention import LeanAttention
from ivvit_cli.models.encoder import Encoder
from ivvit_cli.models.in_place import write
from ivvit_cli.models.temporal.adopted import AdoptedBlock, check_attention, plain_blocks
from ivvit_cli.models.temporal.neighbours import VARIANTS, Boundary, Layout, NeighbourShift


def msca(
    vit: VisionTransformer,
    *,
    variant: str = "KV",
    backward: int | None = None,
    forward: int | None = None,
    boundary: Boundary = "zero",
    layout: Layout = "paper",
    blocks: str = "all",
) -> Encoder:
    """Replace a ViT's attention by cross-attention between neighbouring frames.

    Args:
        vit: a ViT whose blocks have one attention and one MLP branch.
        variant: which of Q, K and V come from other frames: `KV` (Eq. 17) moves those of whole
            heads, `pKV` (Eq. 22) those of whole tokens, counted from the class token.
        backward: how many heads or tokens come from frame t-1; by default the paper's best, 1 head
            or 8 tokens.
        forward: as many from frame t+1.
        boundary: what stands in for a missing neighbour at the ends of a clip: `zero`, as in the
            released code, or `self`, what the frame itself has. The paper leaves it open.
        layout: which ones come from where. `paper`: the first from t-1, the next from t+1.
            `official`, MSCA's released code: the first from t+1, the last from t-1. `adjacent`,
            IV-ViT's: the first from t+1, the next from t-1.
        blocks: `all`, or only the last few, as in `last:4` (Table 3).

    Raises:
        UsageError: the ViT is of another make, or the options make no sense.
    """
    check_attention(vit, "msca")
    by_token = variant.startswith("p")
    default = 8 if by_token else 1
    shift = NeighbourShift(
        tensors=variant.removeprefix("p"),
        heads=vit.blocks[0].attn.num_heads,
        by_token=by_token,
        backward=default if backward is None else backward,
        forward=default if forward is None else forward,
        boundary=boundary,
        layout=layout,
    )
    _check(shift, vit)
    plain = plain_blocks(vit, "msca")
    first = len(plain) - _count(blocks, len(plain))
    vit.blocks = nn.Sequential(
        *plain[:first], *(MscaBlock(block, shift) for block in plain[first:])
    )
    return Encoder(vit)


class MscaBlock(AdoptedBlock):
    """A timm block whose attention crosses frames (Eq. 10-11)."""

    def __init__(self, block: Block, shift: NeighbourShift) -> None:
        super().__init__(block)
        self.shift = shift

    def forward(self, x: Tensor, frames: int | None) -> Tensor:
        """Map tokens (B*T, N, D) to the same shape; images (`frames` is None) attend plainly."""
        x = x + self.drop_path1(self.ls1(self._attend(self.norm1(x), frames)))
        out: Tensor = x + self.drop_path2(self.ls2(self.mlp(self.norm2(x))))
        return out

    def _attend(self, x: Tensor, frames: int | None) -> Tensor:
        if frames is None or self.shift.backward + self.shift.forward == 0:
            out: Tensor = self.attn(x)
            return out
        return cross_attention(self.attn, x, frames, self.shift)


def cross_attention(attn: LeanAttention, x: Tensor, frames: int, shift: NeighbourShift) -> Tensor:
    """Run attention on tokens (B*T, N, D), with q, k or v shifted in time (Eq. 17-23).

    The shift is written into what the layer of q, k and v gives, unless that is normalised
    afterwards or the code is being compiled, where copies of the shifted tensors cost less.
    """
    qkv = attn.qkv(x)
    normalised = not isinstance(attn.q_norm, nn.Identity)
    if normalised or torch.compiler.is_compiling():
        q, k, v = attn.split(qkv)
        q, k, v = (
            shift(y, frames) if name in shift.tensors else y
            for name, y in zip("QKV", (attn.q_norm(q), attn.k_norm(k), v), strict=True)
        )
    else:
        q, k, v = attn.split(write(qkv, frames, shift))
    return attn.finish(attn.attend(q, k, v), x)


def _check(shift: NeighbourShift, vit: VisionTransformer) -> None:
    if shift.tensors not in VARIANTS:
        allowed = ", ".join(VARIANTS)
        raise UsageError(f"temporal msca: variant is one of {allowed}, or one of these after a p")
    if shift.boundary not in ("zero", "self"):
        raise UsageError(f"temporal msca: boundary is zero or self, not {shift.boundary}")
    if shift.layout not in ("paper", "official", "adjacent"):
        raise UsageError(
            f"temporal msca: layout is paper, official or adjacent, not {shift.layout}"
        )
    if min(shift.backward, shift.forward) < 0:
        raise UsageError("temporal msca: backward and forward may not be negative")
    tokens: int = vit.patch_embed.num_patches + vit.num_prefix_tokens
    size, what = (tokens, "tokens") if shift.by_token else (shift.heads, "heads")
    if shift.backward + shift.forward > size:
        raise UsageError(
            f"temporal msca: backward and forward take {shift.backward + shift.forward} {what}, "
            f"but the backbone has {size}"
        )


def _count(blocks: str, depth: int) -> int:
    """Return how many blocks, from the last, `all` or `last:K` are."""
    if blocks == "all":
        return depth
    match = re.fullmatch(r"last:(\d+)", blocks)
    if not match or int(match[1]) > depth:
        raise UsageError(
            f"temporal msca: blocks is all, or last:K of the {depth} there are, not {blocks}"
        )
    return int(match[1])
