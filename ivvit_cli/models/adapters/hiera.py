"""AM Flow's blocks on a Hiera: adapters of each stage's width, flow where attention is global."""

from timm.models.hiera import HieraBlock
from torch import Tensor

from ivvit_cli.models.adapters.am_flow_block import AmFlowBlock
from ivvit_cli.models.hiera import attend, shortcut


class HieraFlowBlock(AmFlowBlock):
    """What runs one of Hiera's blocks with adapters across its two branches.

    Where the block pools, its adapters lie at the pooled tokens.
    """

    def _attend(
        self, block: HieraBlock, x: Tensor, frames: int | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        normed = block.norm1(x)
        x, flow = shortcut(block, x, normed), None
        if self.flow is None:
            out = block.attn(normed)
        else:
            out, q, k = attend(block.attn, normed)
            flow = self.flow(q, k, frames, block.attn.scale)
        return x, block.drop_path1(block.ls1(out)), flow
