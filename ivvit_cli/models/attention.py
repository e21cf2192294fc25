"""timm's attention, with fewer copies in its backward pass."""

from functools import partial

import torch.nn.functional as F
from timm.layers import Attention
from torch import Tensor

from ivvit_cli.models.in_place import views


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
        dropout = self.attn_drop.p if self.training else 0.0
        return F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, scale=self.scale)

    def finish(self, heads: Tensor, x: Tensor) -> Tensor:
        """Turn what the heads give, (B, heads, N, head width), into tokens like x (B, N, D)."""
        out = self.norm(heads.transpose(1, 2).flatten(2))
        if self.gate is not None:
            out = out * self.gate(x).sigmoid()
        projected: Tensor = self.proj_drop(self.proj(out))
        return projected


def _split(qkv: Tensor, heads: int) -> tuple[Tensor, ...]:
    batch, tokens, width = qkv.shape
    q, k, v = qkv.view(batch, tokens, 3, heads, width // (3 * heads)).permute(2, 0, 3, 1, 4)
    return q, k, v
