"""Hiera, its parts under the names that a ViT's have.

Ryali et al., Hiera: A Hierarchical Vision Transformer without the Bells-and-Whistles, ICML 2023.
Its first stages attend within mask units, the last ones over all tokens; between stages queries are
pooled, so that fewer and wider tokens go on. There is no class token.
"""

import torch
import torch.nn.functional as F
from timm.models.hiera import Hiera, HieraBlock, MaskUnitAttention
from torch import Tensor, nn

from ivvit_cli.errors import UsageError


def name_as_vit(hiera: Hiera) -> None:
    """Give a Hiera what an `Encoder` asks of a ViT; its parameters keep their names.

    Raises:
        UsageError: it drops mask units while it trains, which only timm's own forward can do.
    """
    if hiera.patch_drop_rate:
        raise UsageError("backbone_args: patch_drop_rate is not defined on Hiera")
    grid = tuple(hiera.tokens_spatial_shape)
    hiera.patch_embed.grid_size = grid
    hiera.patch_embed.img_size = tuple(
        side * stride for side, stride in zip(grid, hiera.patch_stride, strict=True)
    )
    hiera.norm_pre = hiera.unroll  # into the order in which tokens that pool are neighbours
    hiera.patch_drop, hiera.norm = nn.Identity(), nn.Identity()  # its head has the norm
    hiera.embed_dim, hiera.num_prefix_tokens = hiera.blocks[0].dim, 0
    hiera.has_class_token, hiera.no_embed_class = False, True
    hiera.global_pool, hiera.dynamic_img_size = "avg", False
    for block in hiera.blocks:
        block.attn.num_heads = block.attn.heads


def attends_globally(block: HieraBlock) -> bool:
    """Tell whether all tokens of a block attend to one another, and stay as many."""
    attn: MaskUnitAttention = block.attn
    return not attn.use_mask_unit_attn and attn.q_stride == 1


def attend(attn: MaskUnitAttention, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Attend globally, as timm does: tokens like x (B, N, D), and the queries and keys.

    The queries and keys are (B, heads, N, D / heads).
    """
    q, k, v = split(attn, x)
    heads = F.scaled_dot_product_attention(q, k, v)
    return attn.proj(heads.transpose(1, 2).flatten(2)), q, k


def split(attn: MaskUnitAttention, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the queries, keys and values (B, heads, N, D / heads) of global attention."""
    batch, tokens, _ = x.shape
    qkv = attn.qkv(x).view(batch, tokens, 3, attn.heads, attn.head_dim).permute(2, 0, 3, 1, 4)
    q, k, v = (part.contiguous() for part in qkv.unbind(0))
    return q, k, v


def shortcut(block: HieraBlock, x: Tensor, normed: Tensor) -> Tensor:
    """Return what a block's attention is added to, in as many and as wide tokens as it gives.

    Args:
        x: the block's tokens (B, N, D).
        normed: them, after its first LayerNorm.
    """
    if not block.do_expand:
        return x
    source = x if block.proj is None else block.proj(normed)
    groups: Tensor = source.unflatten(1, (block.attn.q_stride, -1))  # (B, pooled, fewer, D)
    if block.proj is not None:
        return groups.amax(1)
    return torch.cat((groups.amax(1), groups.mean(1)), dim=-1)
