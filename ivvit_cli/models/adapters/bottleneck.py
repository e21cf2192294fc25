"""The plain adapter: a bottleneck with parameters of its own (Houlsby et al., 2019)."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ivvit_cli.models.adapters.adapt import EPS, AdapterBank, AdapterWeights, Shape


class Bottleneck(nn.Module):
    """The parameters of one adapter, which starts by adding nothing.

    Args:
        norm: whether it has a LayerNorm of its own.
        scale: s; None for a learnable one, which starts at 1.
    """

    def __init__(self, shape: Shape, *, norm: bool = True, scale: float | None = None) -> None:
        super().__init__()
        width, hidden, flow = shape
        self.norm = nn.LayerNorm(width, eps=EPS) if norm else None
        self.down = nn.Linear(width + flow, hidden)
        self.up = nn.Linear(hidden, width)
        self.scale: Tensor | float = nn.Parameter(torch.ones(())) if scale is None else scale
        self.width = width
        for zero in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(zero)

    def weights(self) -> AdapterWeights:
        """Return the tensors as `adapt` takes them."""
        down = self.down.weight
        return AdapterWeights(
            gamma=self.norm.weight if self.norm else None,
            beta=self.norm.bias if self.norm else None,
            down=down[:, : self.width],
            flow=down[:, self.width :] if down.shape[1] > self.width else None,
            bias=self.down.bias,
            up=self.up.weight,
            up_bias=self.up.bias,
            scale=self.scale,
        )


class PlainAdapters(AdapterBank):
    """An adapter of its own at every place of every block."""

    def __init__(self, blocks: Sequence[Mapping[str, Shape]], datasets: Sequence[str] = ()) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.ModuleDict({place: Bottleneck(shape) for place, shape in block.items()})
            for block in blocks
        )

    def weights(self, block: int, dataset: str) -> dict[str, AdapterWeights]:
        """Return the tensors of a block's adapters, by their place."""
        places = self.blocks[block]
        assert isinstance(places, nn.ModuleDict)
        return {place: adapter.weights() for place, adapter in places.items()}  # type: ignore[operator]
