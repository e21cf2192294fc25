"""Compacter: an adapter's matrices as sums of Kronecker products, one factor shared by all.

Karimi Mahabadi, Henderson and Ruder, Compacter: Efficient Low-Rank Hypercomplex Adapter Layers,
NeurIPS 2021, Eq. 4 and 5: W = sum_i A_i (x) (s_i t_i), of n terms, A_i n x n and shared, s_i t_i of
rank 1 and each adapter's own.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ivvit_cli.errors import UsageError
from ivvit_cli.models.adapters.adapt import EPS, AdapterBank, AdapterWeights, Shape


class CompacterAdapters(AdapterBank):
    """The adapters of a ViT, whose matrices share the factors `rules`.

    The columns for AM Flow, few in number, are a plain matrix: their count need not divide by n.

    Args:
        terms: n, a divisor of the tokens' width and of the adapters'.

    Raises:
        UsageError: n is no such divisor.
    """

    def __init__(
        self,
        blocks: Sequence[Mapping[str, Shape]],
        datasets: Sequence[str] = (),
        terms: int = 4,
    ) -> None:
        super().__init__()
        for shape in (shape for block in blocks for shape in block.values()):
            if terms < 1 or shape.width % terms or shape.hidden % terms:
                raise UsageError(
                    f"compacter: terms must divide {shape.width} and {shape.hidden}, not {terms}"
                )
        self.rules = nn.Parameter(torch.randn(terms, terms, terms))
        self.blocks = nn.ModuleList(
            nn.ModuleDict({place: _Factors(shape, terms) for place, shape in block.items()})
            for block in blocks
        )

    def weights(self, block: int, dataset: str) -> dict[str, AdapterWeights]:
        """Return the tensors of a block's adapters, by their place."""
        places = self.blocks[block]
        assert isinstance(places, nn.ModuleDict)
        return {place: own.weights(self.rules) for place, own in places.items()}  # type: ignore[operator]


class _Factors(nn.Module):
    """What one adapter has for itself."""

    def __init__(self, shape: Shape, terms: int) -> None:
        super().__init__()
        width, hidden, flow = shape
        self.norm = nn.LayerNorm(width, eps=EPS)
        self.down = _RankOnes(hidden, width, terms)
        self.flow = nn.Linear(flow, hidden, bias=False) if flow else None
        self.bias = nn.Parameter(torch.zeros(hidden))
        self.up = _RankOnes(width, hidden, terms)
        self.up_bias = nn.Parameter(torch.zeros(width))
        self.scale = nn.Parameter(torch.ones(()))
        nn.init.zeros_(self.up.right)

    def weights(self, rules: Tensor) -> AdapterWeights:
        return AdapterWeights(
            gamma=self.norm.weight,
            beta=self.norm.bias,
            down=self.down(rules),
            flow=self.flow.weight if self.flow else None,
            bias=self.bias,
            up=self.up(rules),
            up_bias=self.up_bias,
            scale=self.scale,
        )


class _RankOnes(nn.Module):
    """The factors s_i and t_i of a matrix (rows, columns)."""

    def __init__(self, rows: int, columns: int, terms: int) -> None:
        super().__init__()
        self.left = nn.Parameter(torch.randn(terms, rows // terms))
        # so that W is as large as in a fresh layer: a variance of 1 / (3 columns)
        self.right = nn.Parameter(
            torch.randn(terms, columns // terms) / (3 * terms * columns) ** 0.5
        )

    def forward(self, rules: Tensor) -> Tensor:
        """Return W (rows, columns) for the shared A_i (n, n, n)."""
        product = torch.einsum("iab,ic,id->acbd", rules, self.left, self.right)
        return product.flatten(2).flatten(0, 1)
