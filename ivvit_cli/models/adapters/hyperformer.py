"""Hyperformer: one network makes the weights of all adapters, from what they are and where.

Karimi Mahabadi, Ruder, Dehghani and Henderson, Parameter-efficient Multi-task Fine-tuning for
Transformers via Shared Hypernetworks, ACL 2021, Eq. 4-7; placed and scaled as AM Flow's own
adapters, for its row "Ours with hyperformer".
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ivvit_cli.errors import UsageError
from ivvit_cli.models.adapters.adapt import PLACES, AdapterBank, AdapterWeights, Shape
from ivvit_cli.models.heads import head_key


class HyperformerAdapters(AdapterBank):
    """The adapters of a ViT, made by a hypernetwork from embeddings of dataset, block and place.

    Args:
        datasets: each has an embedding, and so adapters of its own made by the shared network.
        embedding: the width of the embeddings and of what the network makes of them.

    Raises:
        UsageError: the blocks are not of one width, as a Hiera's.
    """

    by_dataset = True

    def __init__(
        self,
        blocks: Sequence[Mapping[str, Shape]],
        datasets: Sequence[str],
        embedding: int = 64,
    ) -> None:
        super().__init__()
        if len({shape.width for block in blocks for shape in block.values()}) > 1:
            raise UsageError("hyperformer: is not defined on blocks of several widths")
        self.shapes = blocks
        self.datasets = nn.ParameterDict(
            {head_key(name): nn.Parameter(torch.randn(embedding)) for name in datasets}
        )
        self.positions = nn.Parameter(torch.randn(len(blocks), embedding))
        self.places = nn.Parameter(torch.randn(len(PLACES), embedding))
        self.scales = nn.Parameter(torch.ones(len(blocks), len(PLACES)))
        self.project = nn.Sequential(
            nn.Linear(3 * embedding, embedding), nn.ReLU(), nn.Linear(embedding, embedding)
        )
        self.norm = nn.LayerNorm(embedding)
        self.make = _Generators(embedding, blocks[0]["attn"], _flow_of(blocks))

    def weights(self, block: int, dataset: str) -> dict[str, AdapterWeights]:
        """Return the tensors of a block's adapters, by their place."""
        return {
            place: self._weights(block, PLACES.index(place), dataset, shape)
            for place, shape in self.shapes[block].items()
        }

    def _weights(self, block: int, place: int, dataset: str, shape: Shape) -> AdapterWeights:
        task = self.datasets[head_key(dataset)]
        where = torch.cat((task, self.positions[block], self.places[place]))
        source = self.norm(self.project(where))  # (embedding,)
        made: AdapterWeights = self.make(source, shape, self.scales[block, place])
        return made


class _Generators(nn.Module):
    """Linear maps from what the network knows of an adapter to its tensors (Eq. 5-7).

    They start such that W_down is as large as in a fresh layer and W_up is 0.
    """

    def __init__(self, embedding: int, shape: Shape, flow: int) -> None:
        super().__init__()
        width, hidden, _ = shape
        fan_in = width + flow
        self.norm = _linear(embedding, 2 * width, 0.0)
        std = (3 * fan_in * embedding) ** -0.5
        self.down = _linear(embedding, hidden * width, std)
        self.flow = _linear(embedding, hidden * flow, std) if flow else None
        self.bias = _linear(embedding, hidden, 0.0)
        self.up = _linear(embedding, width * hidden, 0.0)
        self.up_bias = _linear(embedding, width, 0.0)
        with torch.no_grad():
            self.norm.bias[:width] = 1

    def forward(self, source: Tensor, shape: Shape, scale: Tensor) -> AdapterWeights:
        width, hidden, flow = shape
        gamma, beta = self.norm(source).split(width)
        return AdapterWeights(
            gamma=gamma,
            beta=beta,
            down=self.down(source).view(hidden, width),
            flow=self.flow(source).view(hidden, flow) if self.flow and flow else None,
            bias=self.bias(source),
            up=self.up(source).view(width, hidden),
            up_bias=self.up_bias(source),
            scale=scale,
        )


def _linear(inputs: int, outputs: int, std: float) -> nn.Linear:
    linear = nn.Linear(inputs, outputs)
    nn.init.normal_(linear.weight, std=std)
    nn.init.zeros_(linear.bias)
    return linear


def _flow_of(blocks: Sequence[Mapping[str, Shape]]) -> int:
    """Return C of the blocks that have AM Flow; 0 where none has."""
    return max(shape.flow for block in blocks for shape in block.values())
