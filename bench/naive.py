"""The temporal models as their papers' repositories formulate them, to compare with.

Written anew, for the same results with the same modules: class tokens are shifted through a copy of
all tokens; the heads of MSCA are rolled and joined again; TimeSformer is Hugging Face's.
"""

from typing import Any

import torch
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

from ivvit_cli.models.encoder import Encoder, TemporalBlock


def naive_token_shift(vit: VisionTransformer, fold_div: int = 4) -> Encoder:
    """Return TokenShift with a copy of the stream per shift."""
    fold = vit.embed_dim // fold_div
    vit.blocks = nn.Sequential(*(_NaiveShiftBlock(block, fold) for block in vit.blocks))
    return Encoder(vit)


def naive_msca(vit: VisionTransformer) -> Encoder:
    """Return MSCA-KV with one head from either side, keys and values rolled as wholes."""
    vit.blocks = nn.Sequential(*(_NaiveMscaBlock(block) for block in vit.blocks))
    return Encoder(vit)


def hugging_face_timesformer(
    *, size: int, frames: int, width: int, depth: int, heads: int, classes: int
) -> nn.Module:
    """Return transformers' TimeSformer with divided attention; raises ImportError without it."""
    from transformers import TimesformerConfig, TimesformerForVideoClassification

    config = TimesformerConfig(
        image_size=size,
        num_frames=frames,
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=depth,
        num_attention_heads=heads,
        num_labels=classes,
    )
    return TimesformerForVideoClassification(config)


class _Wrapped(TemporalBlock):
    def __init__(self, block: Block, *args: Any) -> None:
        super().__init__()
        self.block, self.args = block, args


class _NaiveShiftBlock(_Wrapped):
    def forward(self, x: Tensor, frames: int | None) -> Tensor:
        """Shift and attend, shift and transform."""
        block = self.block
        x = self.shift(x, frames)
        x = x + block.drop_path1(block.ls1(block.attn(block.norm1(x))))
        x = self.shift(x, frames)
        out: Tensor = x + block.drop_path2(block.ls2(block.mlp(block.norm2(x))))
        return out

    def shift(self, x: Tensor, frames: int | None) -> Tensor:
        """Shift class tokens (token 0 of (B*T, N, D)) in a new tensor, as TSM does."""
        if frames is None:
            return x
        (fold,) = self.args
        clips = x.view(-1, frames, *x.shape[1:])
        out = torch.zeros_like(clips)
        out[:, :-1, 0, :fold] = clips[:, 1:, 0, :fold]
        out[:, 1:, 0, fold : 2 * fold] = clips[:, :-1, 0, fold : 2 * fold]
        out[:, :, 0, 2 * fold :] = clips[:, :, 0, 2 * fold :]
        out[:, :, 1:] = clips[:, :, 1:]
        return out.flatten(0, 1)


class _NaiveMscaBlock(_Wrapped):
    def forward(self, x: Tensor, frames: int | None) -> Tensor:
        """Attend across frames, transform."""
        block, attn = self.block, self.block.attn
        normed = block.norm1(x)
        shape = (len(x), x.shape[1], 3, attn.num_heads, attn.head_dim)
        q, k, v = attn.qkv(normed).reshape(shape).permute(2, 0, 3, 1, 4).unbind()
        if frames is not None:
            k, v = _rolled(k, frames), _rolled(v, frames)
        heads = nn.functional.scaled_dot_product_attention(q, k, v)
        x = x + block.drop_path1(block.ls1(attn.proj(heads.transpose(1, 2).flatten(2))))
        out: Tensor = x + block.drop_path2(block.ls2(block.mlp(block.norm2(x))))
        return out


def _rolled(x: Tensor, frames: int) -> Tensor:
    """Take head 0 of (B*T, heads, N, head width) from the frame before, head 1 from the next."""
    clips = x.reshape(-1, frames, *x.shape[1:])
    back, ahead, rest = clips[:, :, :1], clips[:, :, 1:2], clips[:, :, 2:]
    back, ahead = back.roll(1, 1), ahead.roll(-1, 1)
    back[:, 0], ahead[:, -1] = 0, 0
    return torch.cat((back, ahead, rest), dim=2).flatten(0, 1)
