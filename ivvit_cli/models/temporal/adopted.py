"""A timm block taken apart: its modules, and so its parameters' names, under another forward."""

from timm.models.vision_transformer import Block, VisionTransformer

from ivvit_cli.errors import UsageError
from ivvit_cli.models.attention import LeanAttention
from ivvit_cli.models.encoder import TemporalBlock


class AdoptedBlock(TemporalBlock):
    """A temporal block made of the modules of timm's `Block`."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.norm1, self.attn, self.ls1 = block.norm1, block.attn, block.ls1
        self.norm2, self.mlp, self.ls2 = block.norm2, block.mlp, block.ls2
        self.drop_path1, self.drop_path2 = block.drop_path1, block.drop_path2


def plain_blocks(vit: VisionTransformer, kind: str) -> list[Block]:
    """Return the blocks of a ViT, each of one attention and one MLP branch.

    Raises:
        UsageError: the blocks are of another make; the message names `kind`.
    """
    if odd := {type(block).__name__ for block in vit.blocks if type(block) is not Block}:
        raise UsageError(f"temporal {kind}: is not defined on blocks of type {odd.pop()}")
    return list(vit.blocks)


def check_attention(vit: VisionTransformer, kind: str) -> None:
    """Raise UsageError unless a kind that looks into attention, or at all tokens, can work here."""
    for block in plain_blocks(vit, kind):
        if type(block.attn) is not LeanAttention:
            name = type(block.attn).__name__
            raise UsageError(f"temporal {kind}: is not defined on attention of type {name}")
    if hasattr(vit.patch_drop, "prob") and vit.patch_drop.prob > 0:
        raise UsageError(
            f"temporal {kind}: patches meet those at their place in other frames",
            hint="leave out backbone_args.patch_drop_rate",
        )
