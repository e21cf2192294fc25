"""TokenShift: class tokens trade channels with the frames before and after.

Zhang et al., Token Shift Transformer for Video Classification, ACM MM 2021, Eq. 4-8; IV-ViT Eq. 7.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

from ivvit_cli.errors import UsageError
from ivvit_cli.models.encoder import Encoder
from ivvit_cli.models.in_place import write
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
    shift = ClassTokenShift(vit.embed_dim // fold_div, layout)
    vit.blocks = nn.Sequential(*(TokenShiftBlock(block, shift) for block in blocks))
    return TokenShiftEncoder(vit, shift)


class TokenShiftEncoder(Encoder):
    """A ViT whose class tokens are shifted before either branch of every block.

    The residual starts after the shift (Eq. 4-7): x = shift(x); x = x + MSA(LN(x)). The shift
    before a block writes into what the block before it has made, so it is no part of what
    activation checkpointing runs twice.
    """

    def __init__(self, vit: VisionTransformer, shift: "ClassTokenShift") -> None:
        super().__init__(vit)
        self.shift = shift

    def run_block(self, block: nn.Module, tokens: Tensor, frames: int | None) -> Tensor:
        """Shift the class tokens, then pass all through one block."""
        return super().run_block(block, shift_class_tokens(tokens, frames, self.shift), frames)


class TokenShiftBlock(AdoptedBlock):
    """A timm block, with its own modules, that shifts class tokens between its branches."""

    def __init__(self, block: Block, shift: "ClassTokenShift") -> None:
        super().__init__(block)
        self.shift = shift

    def forward(self, x: Tensor, frames: int | None) -> Tensor:
        """Map shifted tokens (B*T, N, D) to the same shape, not shifted."""
        x = x + self.drop_path1(self.ls1(self.attn(self.norm1(x))))
        x = shift_class_tokens(x, frames, self.shift)
        out: Tensor = x + self.drop_path2(self.ls2(self.mlp(self.norm2(x))))
        return out


def shift_class_tokens(x: Tensor, frames: int | None, shift: "ClassTokenShift") -> Tensor:
    """Shift the class tokens of (B*T, N, D); images (`frames` is None) are left as they are.

    Where no code is being compiled it is done in place: `x` is as `in_place.write` asks for it.
    """
    if frames is None:
        return x
    return shift(x, frames) if torch.compiler.is_compiling() else write(x, frames, shift)


@dataclass(frozen=True)
class ClassTokenShift:
    """Moves 2 x `fold` channels of the class token (token 0) by one frame; a `FrameMap`.

    At the ends of a clip, where there is no neighbour, zeros move in.
    """

    fold: int
    layout: Layout

    def __call__(self, x: Tensor, frames: int) -> Tensor:
        """Return tokens (B*T, N, D) shifted."""
        moved = self._moved(self._channels(x, frames), self.layout).flatten(2).flatten(0, 1)
        cls = torch.cat((moved, x[:, 0, 2 * self.fold :]), dim=-1)  # (B*T, D)
        return torch.cat((cls[:, None], x[:, 1:]), dim=1)

    def write(self, x: Tensor, frames: int) -> None:
        """Shift tokens (B*T, N, D) in place."""
        self._write(x, frames, self.layout)

    def write_transposed(self, x: Tensor, frames: int) -> None:
        """Shift them back: the transposed shift is that of the other layout."""
        self._write(x, frames, "paper" if self.layout == "official" else "official")

    def _write(self, x: Tensor, frames: int, layout: Layout) -> None:
        channels = self._channels(x, frames)
        channels.copy_(self._moved(channels, layout))

    def _channels(self, x: Tensor, frames: int) -> Tensor:
        """Return the channels of tokens (B*T, N, D) that move, (B, T, 2, fold)."""
        moving = x.view(-1, frames, *x.shape[1:])[:, :, 0, : 2 * self.fold]  # (B, T, 2 * fold)
        return moving.view(*moving.shape[:2], 2, self.fold)

    def _moved(self, x: Tensor, layout: Layout) -> Tensor:
        """Return channels (B, T, 2, fold) with one half from frame t+1, the other from t-1."""
        ahead, back = (0, 1) if layout == "official" else (1, 0)
        moved = torch.zeros_like(x)
        moved[:, :-1, ahead] = x[:, 1:, ahead]
        moved[:, 1:, back] = x[:, :-1, back]
        return moved
