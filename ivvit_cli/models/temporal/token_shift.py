"""TokenShift: class tokens trade channels with the frames before and after.

Zhang et al., Token Shift Transformer for Video Classification, ACM MM 2021, Eq. 4-8; IV-ViT Eq. 7.
"""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

from ivvit_cli.errors import UsageError
from ivvit_cli.models.encoder import Encoder
from ivvit_cli.models.temporal.adopted import AdoptedBlock, plain_blocks

Layout = Literal["official", "paper"]


def token_shift(
    vit: VisionTransformer, *, fold_div: int = 4, layout: Layout = "official"
) -> Encoder:
    """Shift 2/fold_div of the class token's channels in every block of a ViT.

    Args:
        vit: a ViT with a class token, whose blocks have one attention and one MLP branch.
        fold_div: D // fold_div channels come from either side.
        layout: which channels come from where. `official`, the released code and its weights: the
            first from frame t+1, the next from t-1. `paper` (Eq. 8): the other way round.

    Raises:
        UsageError: the ViT is of another make, or the options make no sense.
    """
    if not vit.has_class_token:
        raise UsageError("temporal token_shift: moves class tokens, and this backbone has none")
    blocks = plain_blocks(vit, "token_shift")
    if fold_div < 2:
        raise UsageError(f"temporal token_shift: fold_div must be at least 2, not {fold_div}")
    if layout not in ("official", "paper"):
        raise UsageError(f"temporal token_shift: layout is official or paper, not {layout}")
    fold = vit.embed_dim // fold_div
    vit.blocks = nn.Sequential(*(TokenShiftBlock(block, fold, layout) for block in blocks))
    return Encoder(vit)


class TokenShiftBlock(AdoptedBlock):
    """A timm block, with its own modules, that shifts class tokens before either branch.

    The residual starts after the shift (Eq. 4-7): x = shift(x); x = x + MSA(LN(x)).
    """

    def __init__(self, block: Block, fold: int, layout: Layout) -> None:
        super().__init__(block)
        self.fold = fold
        self.layout: Layout = layout

    def forward(self, x: Tensor, frames: int | None) -> Tensor:
        """Map tokens (B*T, N, D) to the same shape; images (`frames` is None) are not shifted."""
        x = self._shift(x, frames)
        x = x + self.drop_path1(self.ls1(self.attn(self.norm1(x))))
        x = self._shift(x, frames)
        out: Tensor = x + self.drop_path2(self.ls2(self.mlp(self.norm2(x))))
        return out

    def _shift(self, x: Tensor, frames: int | None) -> Tensor:
        return x if frames is None else shift_class_tokens(x, frames, self.fold, self.layout)


def shift_class_tokens(x: Tensor, frames: int, fold: int, layout: Layout = "official") -> Tensor:
    """Move 2 x `fold` channels of the class token (token 0) of (B*T, N, D) by one frame.

    At the ends of a clip, where there is no neighbour, zeros move in.
    """
    shifted: Tensor = _Shift.apply(x, frames, fold, layout)
    return shifted


class _Shift(torch.autograd.Function):
    """The shift is linear, and its transpose is the shift of the other layout.

    Autograd would find that too, but through several buffers of the size of all tokens.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, frames: int, fold: int, layout: Layout) -> Tensor:
        ctx.frames, ctx.fold, ctx.layout = frames, fold, layout
        return _shift(x, frames, fold, layout)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        other: Layout = "paper" if ctx.layout == "official" else "official"
        return _shift(grad, ctx.frames, ctx.fold, other), None, None, None


def _shift(x: Tensor, frames: int, fold: int, layout: Layout) -> Tensor:
    cls = x[:, 0].view(-1, frames, x.shape[-1])  # (B, T, D)
    first, second, rest = cls.tensor_split((fold, 2 * fold), dim=-1)
    if layout == "official":
        first, second = _from_next(first), _from_previous(second)
    else:
        first, second = _from_previous(first), _from_next(second)
    cls = torch.cat((first, second, rest), dim=-1).flatten(0, 1)  # (B*T, D)
    return x.select_scatter(cls, dim=1, index=0)


def _from_next(x: Tensor) -> Tensor:
    return F.pad(x[:, 1:], (0, 0, 0, 1))


def _from_previous(x: Tensor) -> Tensor:
    return F.pad(x[:, :-1], (0, 0, 1, 0))
