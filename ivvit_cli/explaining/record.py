"""The queries and keys of every block, as its attention over space meets them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from torch import Tensor, nn

from ivvit_cli.errors import UsageError
from ivvit_cli.models.attention import LeanAttention
from ivvit_cli.models.encoder import Encoder


class Seen(NamedTuple):
    """What one block attends with: q and k (F, heads, N, D / heads), and their scale.

    F is the number of frames, or 1 where all tokens of a clip attend to one another.
    """

    q: Tensor
    k: Tensor
    scale: float


@contextmanager
def recorded(encoder: Encoder) -> Iterator[dict[int, Seen]]:
    """Note what the blocks attend with, by their number from 1, in the forward pass within.

    Each temporal kind makes its queries and keys in its own way (shifts, adapters, norms), and all
    hand them to `LeanAttention.attend`: that is the one place where they are what they are.

    Raises:
        UsageError: a block has another attention.
    """
    seen: dict[int, Seen] = {}
    layers = [_attention(block, number) for number, block in enumerate(encoder.vit.blocks, 1)]
    try:
        for number, layer in enumerate(layers, start=1):
            _watch(layer, number, seen)
        yield seen
    finally:
        for layer in layers:
            del layer.__dict__["attend"]  # the class's own shows again


def _attention(block: nn.Module, number: int) -> LeanAttention:
    layer = getattr(block, "attn", None)
    if not isinstance(layer, LeanAttention):
        raise UsageError(f"block {number}: has no attention over tokens that could be shown")
    return layer


def _watch(layer: LeanAttention, number: int, seen: dict[int, Seen]) -> None:
    attend = layer.attend

    def noted(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        seen[number] = Seen(q.float(), k.float(), float(layer.scale))
        return attend(q, k, v)

    object.__setattr__(layer, "attend", noted)
