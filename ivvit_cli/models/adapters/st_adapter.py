"""ST-Adapter: a bottleneck with a convolution over time and place before a block's branches.

Pan et al., ST-Adapter: Parameter-Efficient Image-to-Video Transfer Learning, NeurIPS 2022, Eq. 4.
As in the released code, class tokens have no part in it, and its first addition is 0, since the
convolution starts as one.
"""

from collections.abc import Sequence

from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

from ivvit_cli.errors import UsageError
from ivvit_cli.models.adapters.adapt import PLACES
from ivvit_cli.models.adapters.encoder import AdaptedEncoder, Additions, Features, Owner
from ivvit_cli.models.temporal.adopted import check_attention


def st_adapter(
    vit: VisionTransformer,
    *,
    width: int = 384,
    kernel: Sequence[int] = (3, 1, 1),
    before: Sequence[str] = ("attn", "mlp"),
    adapters: Owner = "shared",
) -> AdaptedEncoder:
    """Put ST-Adapters into a ViT.

    Args:
        vit: a ViT whose blocks have one attention and one MLP branch.
        width: of the bottleneck.
        kernel: of the depthwise convolution: frames, rows and columns of patches, each odd.
        before: which branches have one before them: `attn`, `mlp`. (The paper's models for
            Kinetics have one per block, for Something-Something two.)
        adapters: whether datasets share them, or each has its own.

    Raises:
        UsageError: the ViT is of another make, or the options make no sense.
    """
    check_attention(vit, "st_adapter")
    if len(kernel) != 3 or any(size < 1 or size % 2 == 0 for size in kernel):
        raise UsageError(f"temporal st_adapter: kernel is three odd numbers, not {list(kernel)}")
    if not before or not set(before) <= set(PLACES):
        raise UsageError(f"temporal st_adapter: before lists attn, mlp or both, not {list(before)}")
    if vit.dynamic_img_size:
        raise UsageError(
            "temporal st_adapter: needs a fixed input size", hint="not dynamic_img_size"
        )
    grid: tuple[int, int] = vit.patch_embed.grid_size
    prefix, depth = vit.num_prefix_tokens, len(vit.blocks)

    def make(datasets: Sequence[str]) -> Additions:
        blocks = [
            StAdapterBlock(
                {place: StAdapter(vit.embed_dim, width, kernel, grid) for place in before}, prefix
            )
            for _ in range(depth)
        ]
        return StAdditions(blocks)

    return AdaptedEncoder(vit, make, adapters)


class StAdditions(Additions):
    """The adapters of all blocks."""

    def __init__(self, blocks: Sequence["StAdapterBlock"]) -> None:
        super().__init__()
        self.depth = len(blocks)
        self.blocks = nn.ModuleList(blocks)

    def forward(
        self, number: int, block: Block, x: Tensor, frames: int | None, dataset: str
    ) -> tuple[Tensor, Features]:
        """Run a block with its adapters; see `Additions`."""
        return self.blocks[number](block, x, frames), ()

    def stages(self) -> list[nn.Module]:
        """Return the blocks' own modules."""
        return list(self.blocks)


class StAdapterBlock(nn.Module):
    """What runs one of timm's blocks with adapters before its branches.

    Args:
        adapters: by the branch that they come before.
        prefix: how many tokens come before the patches.
    """

    def __init__(self, adapters: dict[str, "StAdapter"], prefix: int) -> None:
        super().__init__()
        self.adapters, self.prefix = nn.ModuleDict(adapters), prefix

    def forward(self, block: Block, x: Tensor, frames: int | None) -> Tensor:
        """Map tokens (B*T, N, D) to the same shape."""
        x = self._adapted("attn", x, frames)
        x = x + block.drop_path1(block.ls1(block.attn(block.norm1(x))))
        x = self._adapted("mlp", x, frames)
        out: Tensor = x + block.drop_path2(block.ls2(block.mlp(block.norm2(x))))
        return out

    def _adapted(self, place: str, x: Tensor, frames: int | None) -> Tensor:
        if place not in self.adapters:
            return x
        change: Tensor = self.adapters[place](x[:, self.prefix :], frames or 1)
        return x + nn.functional.pad(change, (0, 0, self.prefix, 0))


class StAdapter(nn.Module):
    """A bottleneck whose inside is convolved over time and place, each channel for itself.

    Args:
        grid: rows and columns of patches.
    """

    def __init__(
        self, width: int, hidden: int, kernel: Sequence[int], grid: tuple[int, int]
    ) -> None:
        super().__init__()
        self.grid = grid
        self.down, self.up = nn.Linear(width, hidden), nn.Linear(hidden, width)
        time, rows, columns = kernel
        self.conv = nn.Conv3d(
            hidden,
            hidden,
            (time, rows, columns),
            padding=(time // 2, rows // 2, columns // 2),
            groups=hidden,
        )
        for zero in (self.down.bias, self.conv.weight, self.conv.bias, self.up.bias):
            nn.init.zeros_(zero)  # type: ignore[arg-type]  # all of these have biases

    def forward(self, patches: Tensor, frames: int) -> Tensor:
        """Return what is added to patches (B*T, N, D)."""
        hidden = self.down(patches)  # (B*T, N, hidden)
        clips = hidden.unflatten(1, self.grid).unflatten(0, (-1, frames))  # (B, T, H, W, hidden)
        mixed = self.conv(clips.movedim(-1, 1)).movedim(1, -1)
        out: Tensor = self.up(mixed.flatten(2, 3).flatten(0, 1))
        return out
