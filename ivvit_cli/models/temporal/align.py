"""The aligning encoder of AM Flow, and the transformer layer that it is made of.

AM Flow, arXiv 2411.02065, "Handling irrelevant motion": a transformer encoder with the linear
attention of Katharopoulos et al., Transformers are RNNs, ICML 2020, Eq. 4-7. What the paper leaves
open is as in the library of these authors, with which its printed parameter count agrees.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_EPS = 1e-6  # keeps the linear attention's divisor from 0


class PostNormLayer(nn.Module):
    """A transformer layer of the first kind: LayerNorm after each branch, ReLU in between.

    Args:
        width: D, a multiple of `heads`.
        hidden: the width of the feed-forward branch.
        linear: attend in time linear in the number of tokens, with elu(x) + 1 as feature map.
    """

    def __init__(
        self, width: int, heads: int, hidden: int, *, linear: bool, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.heads, self.linear = heads, linear
        self.query, self.key, self.value, self.proj = (nn.Linear(width, width) for _ in range(4))
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens (B, N, D) to the same shape."""
        x = self.norm1(x + self.dropout(self._attend(x)))
        hidden = self.dropout(F.relu(self.fc1(x)))
        out: Tensor = self.norm2(x + self.dropout(self.fc2(hidden)))
        return out

    def _attend(self, x: Tensor) -> Tensor:
        q, k, v = (
            project(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, heads, N, D / heads)
            for project in (self.query, self.key, self.value)
        )
        attend = linear_attention if self.linear else F.scaled_dot_product_attention
        out: Tensor = self.proj(attend(q, k, v).transpose(1, 2).flatten(2))
        return out


def linear_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attend with the kernel phi(q)·phi(k), phi(x) = elu(x) + 1, summed in float32.

    Args:
        q, k, v: each (B, heads, N, D); the result has this shape too.
    """
    kind = torch.promote_types(q.dtype, torch.float32)
    with torch.autocast(q.device.type, enabled=False):
        q, k, v = _phi(q.to(kind)), _phi(k.to(kind)), v.to(kind)
        sums = q @ (k.mT @ v)  # (B, heads, N, D), without any N x N
        return sums / (q @ k.sum(2).unsqueeze(-1) + _EPS)


def _phi(x: Tensor) -> Tensor:
    """Return elu(x) + 1; torch's own elu cannot be compiled on tensors that are not contiguous."""
    return x.clamp(max=0).exp() + x.relu()


class AligningEncoder(nn.Module):
    """A transformer encoder on what each token receives of a frame's attention (Eq. 4).

    One for all frames: frames whose maps are equal up to a motion of the camera can come out equal.

    Args:
        width: D, a multiple of `heads`.
        hidden: the width of its feed-forward branch; 1024 gives the paper's 45 Mi in 12 blocks.
    """

    def __init__(self, width: int, heads: int, hidden: int = 1024, dropout: float = 0.1) -> None:
        super().__init__()
        self.layer = PostNormLayer(width, heads, hidden, linear=True, dropout=dropout)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B*T, N, D) to the same shape, frame by frame."""
        out: Tensor = self.norm(self.layer(x))
        return out
