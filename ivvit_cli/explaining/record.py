"""The queries and keys of every block, as its attention over space meets them."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import NamedTuple

from timm.models.hiera import HieraBlock
from torch import Tensor, nn

from ivvit_cli.errors import UsageError
from ivvit_cli.models.attention import LeanAttention
from ivvit_cli.models.encoder import Encoder
from ivvit_cli.models.hiera import attends_globally, split


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
    hand them to `LeanAttention.attend`: that is the one place where they are what they are. A
    Hiera's blocks make them of their first LayerNorm's output; those that attend within mask units
    or pool have no map of all tokens, and are left out.

    Raises:
        UsageError: a block has another attention.
    """
    seen: dict[int, Seen] = {}
    with ExitStack() as watches:
        for number, block in enumerate(encoder.vit.blocks, start=1):
            if not isinstance(block, HieraBlock):
                watches.enter_context(_watch(_attention(block, number), number, seen))
            elif attends_globally(block):
                watches.enter_context(_watch_hiera(block, number, seen))
        yield seen


def _attention(block: nn.Module, number: int) -> LeanAttention:
    layer = getattr(block, "attn", None)
    if not isinstance(layer, LeanAttention):
        raise UsageError(f"block {number}: has no attention over tokens that could be shown")
    return layer


@contextmanager
def _watch(layer: LeanAttention, number: int, seen: dict[int, Seen]) -> Iterator[None]:
    attend = layer.attend

    def noted(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        seen[number] = Seen(q.float(), k.float(), float(layer.scale))
        return attend(q, k, v)

    object.__setattr__(layer, "attend", noted)
    try:
        yield
    finally:
        del layer.__dict__["attend"]  # the class's own shows again


def _watch_hiera(
    block: HieraBlock, number: int, seen: dict[int, Seen]
) -> AbstractContextManager[object]:
    def note(norm: nn.Module, args: tuple[Tensor], normed: Tensor) -> None:
        q, k, _ = split(block.attn, normed)
        seen[number] = Seen(q.float(), k.float(), float(block.attn.scale))

    hook: AbstractContextManager[object] = block.norm1.register_forward_hook(note)
    return hook
