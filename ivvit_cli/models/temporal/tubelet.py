"""Tubelets: clips have a tokenizer of their own; blocks and class token are shared with images.

PolyViT (Likhosherstov et al., 2021) as IV-ViT 5.4 compares with it: the video embedding of ViViT
(Arnab et al., 2021, model 1), whose tokens, of a few frames each, all attend to one another.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from timm.layers import PatchEmbed, trunc_normal_
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from ivvit_cli.errors import UsageError
from ivvit_cli.models.backbone import prefix_tokens
from ivvit_cli.models.encoder import Encoder
from ivvit_cli.models.temporal.timesformer import nearest_frames

Inflation = Literal["central", "average"]


def tubelet(
    vit: VisionTransformer, *, frames: int = 32, depth: int = 2, inflation: Inflation = "central"
) -> Encoder:
    """Give a ViT a second tokenizer, for clips.

    Args:
        vit: a ViT of a fixed input size.
        frames: the length of a clip, for which there are embeddings of place and time; clips of
            another length take the nearest.
        depth: frames per token.
        inflation: what the tokenizer makes of an image's weights where it has none of its own: they
            see the `central` frame of a tubelet (ViViT Eq. 9), or the `average` (Eq. 8).

    Raises:
        UsageError: the ViT is of another make, or the options make no sense.
    """
    if not isinstance(vit.patch_embed, PatchEmbed) or vit.dynamic_img_size or vit.pos_embed is None:
        raise UsageError("temporal tubelet: needs a ViT of patches, places and a fixed input size")
    if depth < 1 or frames < depth or frames % depth:
        raise UsageError(
            f"temporal tubelet: frames must be a multiple of depth {depth}, not {frames}"
        )
    if inflation not in ("central", "average"):
        raise UsageError(f"temporal tubelet: inflation is central or average, not {inflation}")
    return TubeletEncoder(vit, frames // depth, depth, inflation)


class TubeletEncoder(Encoder):
    """A ViT on images, or on all tubelets of a clip.

    Attributes:
        tubelet_embed: the tokenizer, a convolution over `depth` frames of a patch.
        tubelet_pos: (1, P + tubes*N, D): the embeddings of the prefix tokens, where the ViT has
            such, then those of N places for each of `tubes` moments.
    """

    def __init__(
        self, vit: VisionTransformer, tubes: int, depth: int, inflation: Inflation
    ) -> None:
        super().__init__(vit)
        proj = vit.patch_embed.proj
        kernel = (depth, *proj.kernel_size)
        self.tubes, self.depth, self.inflation = tubes, depth, inflation
        self.idle = True  # images have no use of the clips' tokenizer, nor clips of theirs
        self.tubelet_embed = nn.Conv3d(
            proj.in_channels, proj.out_channels, kernel, kernel, bias=proj.bias is not None
        )
        self.prefix = 0 if vit.no_embed_class else vit.num_prefix_tokens
        length = self.prefix + tubes * vit.patch_embed.num_patches
        self.tubelet_pos = nn.Parameter(torch.zeros(1, length, vit.embed_dim))
        trunc_normal_(self.tubelet_pos, std=0.02)

    def embed(self, x: Tensor) -> Tensor:
        """Turn images into tokens (B, N, D), clips (B, T, 3, H, W) into (B, P + T/depth * N, D).

        Raises:
            UsageError: T is no multiple of the depth.
        """
        if x.ndim == 4:
            return super().embed(x)
        if x.shape[1] % self.depth:
            raise UsageError(
                f"temporal tubelet: clips of {x.shape[1]} frames do not fit depth {self.depth}"
            )
        vit, own, places = self.vit, *self._places(x.shape[1] // self.depth)
        prefix = [token.expand(x.shape[0], -1, -1) for token in prefix_tokens(vit).values()]
        if self.prefix:
            prefix = [torch.cat(prefix, dim=1) + own]
        joined = torch.cat([*prefix, self._tokenize(x) + places], dim=1)
        embedded: Tensor = vit.norm_pre(vit.patch_drop(vit.pos_drop(joined)))
        return embedded

    def read_out(self, tokens: Tensor, frames: int | None) -> tuple[Tensor, ...]:
        """Pool the tokens of an image or of a whole clip as timm's head does: (B, D)."""
        return (self.vit.forward_head(self.vit.norm(tokens), pre_logits=True),)

    def separate(self, parts: Sequence[str]) -> None:
        """Refuse: clips are embedded apart as it is.

        Raises:
            UsageError: always.
        """
        raise UsageError("separate: temporal tubelet embeds clips apart from images as it is")

    def derive(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Inflate an image's tokenizer, and repeat its embeddings of place at every moment."""
        derived = super().derive(state)
        if (bias := state.get("encoder.vit.patch_embed.proj.bias")) is not None:
            derived["encoder.tubelet_embed.bias"] = bias
        if (weight := state.get("encoder.vit.patch_embed.proj.weight")) is not None:
            derived["encoder.tubelet_embed.weight"] = self._inflate(weight)
        if (pos := state.get("encoder.vit.pos_embed")) is not None:
            own, places = pos.tensor_split((self.prefix,), dim=1)
            derived["encoder.tubelet_pos"] = torch.cat((own, places.repeat(1, self.tubes, 1)), 1)
        return derived

    def _tokenize(self, x: Tensor) -> Tensor:
        """Turn clips (B, T, 3, H, W) into tokens (B, T/depth * N, D).

        A tubelet's frames lie together, so it is an image of 3*depth channels: no copy, and a 2-D
        convolution is faster than a 3-D one.
        """
        conv = self.tubelet_embed
        kernel = conv.weight.transpose(1, 2).flatten(1, 2)  # (D, depth*3, H, W)
        tubes = x.reshape(-1, kernel.shape[1], *x.shape[3:])  # (B * T/depth, depth*3, H, W)
        grid = F.conv2d(tubes, kernel, conv.bias, conv.stride[1:])
        tokens: Tensor = self.vit.patch_embed.norm(grid.flatten(2).transpose(1, 2))
        return tokens.reshape(x.shape[0], -1, tokens.shape[-1])

    def _places(self, tubes: int) -> tuple[Tensor, Tensor]:
        """Return the embeddings of the prefix (1, P, D) and of `tubes` moments (1, tubes*N, D)."""
        own, places = self.tubelet_pos.tensor_split((self.prefix,), dim=1)
        moments = places.view(1, self.tubes, -1)  # (1, tubes, N*D)
        return own, nearest_frames(moments, tubes).reshape(1, -1, places.shape[-1])

    def _inflate(self, weight: Tensor) -> Tensor:
        """Turn (D, 3, H, W) into (D, 3, depth, H, W)."""
        if self.inflation == "average":
            return weight[:, :, None].repeat(1, 1, self.depth, 1, 1) / self.depth
        inflated = weight.new_zeros(*weight.shape[:2], self.depth, *weight.shape[2:])
        inflated[:, :, self.depth // 2] = weight
        return inflated
