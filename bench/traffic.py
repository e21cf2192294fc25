"""The bytes that eager operations read and write: what a GPU waits for, counted on any machine."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

_FREE = ("_local_scalar_dense", "_unsafe_view", "detach", "empty", "empty_like", "new_empty")


class Traffic(TorchDispatchMode):
    """Adds up, inside a `with` block, what every operation's tensors hold: inputs and outputs.

    Views cost nothing. What a fused kernel keeps to itself is not seen, nor is what a cache saves.
    """

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        """Run an operation and count it."""
        out = func(*args, **(kwargs or {}))
        if not func.is_view and func.overloadpacket.__name__ not in _FREE:
            self.bytes += sum(_bytes(x) for x in _tensors((args, kwargs, out)))
        return out


def _tensors(tree: object) -> Iterator[Tensor]:
    return (leaf for leaf in tree_iter(tree) if isinstance(leaf, Tensor))


def _bytes(x: Tensor) -> int:
    """Return the bytes of a tensor, those of expanded dimensions once."""
    sides = (size for size, stride in zip(x.shape, x.stride(), strict=True) if stride)
    return x.element_size() * int(torch.tensor([*sides, 1]).prod())
