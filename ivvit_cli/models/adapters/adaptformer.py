"""AdaptFormer: an adapter beside every MLP.

Chen et al., AdaptFormer: Adapting Vision Transformers for Scalable Visual Recognition, NeurIPS
2022, Eq. 3-5: parallel, without LayerNorm, of a fixed scale. As in the released code, the linear
head has a BatchNorm without parameters before it.
"""

from collections.abc import Sequence

from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

from ivvit_cli.models.adapters.adapt import Shape, adapt
from ivvit_cli.models.adapters.bottleneck import Bottleneck
from ivvit_cli.models.adapters.encoder import AdaptedEncoder, Additions, Features, Owner
from ivvit_cli.models.temporal.adopted import plain_blocks


def adaptformer(
    vit: VisionTransformer,
    *,
    width: int = 64,
    scale: float = 0.1,
    dropout: float = 0.1,
    batch_norm: bool = True,
    adapters: Owner = "shared",
) -> AdaptedEncoder:
    """Put AdaptFormer's adapters beside a ViT, which runs frame by frame.

    Args:
        vit: a ViT whose blocks have one attention and one MLP branch.
        width: of the bottleneck.
        scale: s of Eq. 4.
        dropout: of what the bottleneck holds.
        batch_norm: whether features are normalised over the batch before the heads.
        adapters: whether datasets share them, or each has its own.

    Raises:
        UsageError: the ViT is of another make, or the options make no sense.
    """
    depth = len(plain_blocks(vit, "adaptformer"))
    shape = Shape(vit.embed_dim, width, 0)

    def make(datasets: Sequence[str]) -> Additions:
        return AdaptFormerAdditions(shape, depth, scale, dropout)

    encoder = AdaptedEncoder(vit, make, adapters)
    encoder.batch_norm = batch_norm
    return encoder


class AdaptFormerAdditions(Additions):
    """The adapters of all blocks."""

    def __init__(self, shape: Shape, depth: int, scale: float, dropout: float) -> None:
        super().__init__()
        self.depth = depth
        self.blocks = nn.ModuleList(
            AdaptFormerBlock(Bottleneck(shape, norm=False, scale=scale), dropout)
            for _ in range(depth)
        )

    def forward(
        self, number: int, block: Block, x: Tensor, frames: int | None, dataset: str
    ) -> tuple[Tensor, Features]:
        """Run a block with its adapter; see `Additions`."""
        return self.blocks[number](block, x), ()

    def stages(self) -> list[nn.Module]:
        """Return the blocks' own modules."""
        return list(self.blocks)


class AdaptFormerBlock(nn.Module):
    """What runs one of timm's blocks with an adapter beside its MLP."""

    def __init__(self, adapter: Bottleneck, dropout: float) -> None:
        super().__init__()
        self.adapter, self.dropout = adapter, nn.Dropout(dropout)

    def forward(self, block: Block, x: Tensor) -> Tensor:
        """Map tokens (B*T, N, D) to the same shape."""
        x = x + block.drop_path1(block.ls1(block.attn(block.norm1(x))))
        branch = block.drop_path2(block.ls2(block.mlp(block.norm2(x))))
        out: Tensor = x + branch + adapt(self.adapter.weights(), x, dropout=self.dropout)[1]
        return out
