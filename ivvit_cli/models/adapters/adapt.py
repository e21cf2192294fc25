"""What an adapter does, whoever made its weights.

He et al., Towards a Unified View of Parameter-Efficient Transfer Learning, ICLR 2022 (the scaled
parallel form); AM Flow, arXiv 2411.02065, Eq. 1 and 6.
"""

from typing import Literal, NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

EPS = 1e-5  # of the adapters' own LayerNorm, torch's default
PLACES = ("attn", "mlp")

Placement = Literal["parallel", "serial"]


class Shape(NamedTuple):
    """The sizes of an adapter: D of the tokens, `hidden` of E, C of the flow (0 without)."""

    width: int
    hidden: int
    flow: int


class AdapterWeights(NamedTuple):
    """The tensors of one adapter.

    Attributes:
        gamma, beta: (D,), of its own LayerNorm; None for an adapter without.
        down: (hidden, D). With `flow` beside it, W_down of Eq. 6.
        flow: (hidden, C), the columns for AM Flow; None for an adapter without.
        bias: (hidden,).
        up: (D, hidden).
        up_bias: (D,).
        scale: s of Eq. 1.
    """

    gamma: Tensor | None
    beta: Tensor | None
    down: Tensor
    flow: Tensor | None
    bias: Tensor
    up: Tensor
    up_bias: Tensor
    scale: Tensor | float


class AdapterBank(nn.Module):
    """The adapters of a whole ViT.

    Attributes:
        by_dataset: whether their weights depend on the dataset.
    """

    by_dataset = False

    def weights(self, block: int, dataset: str) -> dict[str, AdapterWeights]:
        """Return the tensors of a block's adapters, by their place."""
        raise NotImplementedError


def adapt(
    weights: AdapterWeights,
    x: Tensor,
    flow: Tensor | None = None,
    *,
    still: float = 0.0,
    dropout: nn.Module | None = None,
) -> tuple[Tensor, Tensor]:
    """Return E of Eq. 6, (B, N, hidden), and s E W_up of Eq. 1, (B, N, D).

    Args:
        x: tokens (B, N, D).
        flow: AM Flow (B, N, C) of them.
        still: its value where nothing moves, from which little differences count: in bfloat16,
            1.001 is 1.
        dropout: of E.
    """
    if weights.gamma is not None:
        # Those that a network makes under autocast are of its type, and tokens may not be.
        gamma, beta = (None if w is None else w.to(x.dtype) for w in (weights.gamma, weights.beta))
        x = F.layer_norm(x, x.shape[-1:], gamma, beta, EPS)
    if flow is None or weights.flow is None:
        hidden = F.linear(x, weights.down, weights.bias)
    else:
        hidden = F.linear(x, weights.down, weights.bias + still * weights.flow.sum(-1))
        hidden = hidden + F.linear(flow - still, weights.flow)
    embedding = F.relu(hidden) if dropout is None else dropout(F.relu(hidden))
    return embedding, weights.scale * F.linear(embedding, weights.up, weights.up_bias)
