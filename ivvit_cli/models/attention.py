"""timm's attention, with fewer copies in its backward pass."""

from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from timm.layers import Attention
from torch import Tensor

from ivvit_cli.models.in_place import views

_MOST = 2**31  # gradients of queries in flash attention, which counts them in 32 bits


class LeanAttention(Attention):  # type: ignore[misc]  # timm is not typed
    """timm's attention, bit for bit, under its parameters' names.

    The gradients of q, k and v are written into that of qkv; through timm's reshape, permute and
    unbind they are copied twice.
    """

    def forward(
        self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False
    ) -> Tensor:
        """Map tokens (B, N, D) to the same shape."""
        if attn_mask is not None or is_causal or not self.fused_attn:
            masked: Tensor = super().forward(x, attn_mask, is_causal)
            return masked
        q, k, v = self.split(self.qkv(x))
        return self.finish(self.attend(self.q_norm(q), self.k_norm(k), v), x)

    def split(self, qkv: Tensor) -> tuple[Tensor, ...]:
        """Return q, k and v, each (B, heads, N, head width), as views of (B, N, 3*D)."""
        return views(qkv, partial(_split, heads=self.num_heads))

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Return what the heads give, (B, heads, N, head width)."""
        if not q.is_cuda or len(q) <= (most := most_on_cuda(q.shape)):
            return self._attend(q, k, v)
        some = zip(*(torch.split(x, most) for x in (q, k, v)), strict=True)
        return torch.cat([self._attend(*each) for each in some])

    def _attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        dropout = self.attn_drop.p if self.training else 0.0
        return F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, scale=self.scale)

    def finish(self, heads: Tensor, x: Tensor) -> Tensor:
        """Turn what the heads give, (B, heads, N, head width), into tokens like x (B, N, D)."""
        out = self.norm(heads.transpose(1, 2).flatten(2))
        if self.gate is not None:
            out = out * self.gate(x).sigmoid()
        projected: Tensor = self.proj_drop(self.proj(out))
        return projected


def most_on_cuda(queries: Sequence[int]) -> int:
    """Return how much of the batch of queries (B, heads, N, head width) may attend at once.

    Flash attention's backward pass holds those of 128 tokens and 32 channels at least.
    """
    _, heads, tokens, width = queries
    return max(_MOST // (heads * (-(-tokens // 128) * 128) * max(width, 32)), 1)


def _split(qkv: Tensor, heads: int) -> tuple[Tensor, ...]:
    batch, tokens, width = qkv.shape
    q, k, v = qkv.view(batch, tokens, 3, heads, width // (3 * heads)).permute(2, 0, 3, 1, 4)
    return q, k, v
