"""Embeddings for clips apart from those for images (IV-ViT Table 1, the row "separate").

The paper says "embedding layers" and no more; which of them, `parts` says.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from timm.models.hiera import Hiera
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from ivvit_cli.errors import UsageError
from ivvit_cli.models.backbone import prefix_tokens

PARTS = {"patch": "patch_embed", "pos": "pos_embed", "cls": "cls_token"}


class ClipStem(nn.Module):
    """A ViT's embedding of patches, place and class for the frames of clips.

    Its own parts start as copies of the ViT's; the others stay the ViT's, shared with images.

    Args:
        vit: a timm ViT of a fixed input size.
        parts: what clips have for themselves: `patch`, `pos`, `cls`.

    Raises:
        UsageError: a part is unknown, or this ViT has none such.
    """

    def __init__(self, vit: VisionTransformer, parts: Sequence[str]) -> None:
        super().__init__()
        if isinstance(vit, Hiera):
            raise UsageError("separate: is not defined on Hiera")
        if vit.dynamic_img_size:
            raise UsageError("separate: needs a fixed input size", hint="not dynamic_img_size")
        for part in parts:
            if part not in PARTS:
                raise UsageError(f"separate: {part} is none of {', '.join(PARTS)}")
            if getattr(vit, PARTS[part]) is None:
                raise UsageError(f"separate: this backbone has no {PARTS[part]}")
            setattr(self, PARTS[part], copy.deepcopy(getattr(vit, PARTS[part])))

    def forward(self, x: Tensor, vit: VisionTransformer) -> Tensor:
        """Turn frames (B*T, 3, H, W) into tokens (B*T, N, D), as timm does with its own parts."""
        patches = self._part("patch_embed", vit)(x)
        tokens = [self._part(name, vit) for name in prefix_tokens(vit)]
        prefix = [token.expand(x.shape[0], -1, -1) for token in tokens]
        pos = self._part("pos_embed", vit)
        if vit.no_embed_class and pos is not None:
            patches, pos = patches + pos, None
        embedded = torch.cat([*prefix, patches], dim=1)
        out: Tensor = vit.pos_drop(embedded if pos is None else embedded + pos)
        return out

    def derive(self, state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
        """Return the ViT's tensors in `state` as this stem's, named with `prefix`.

        Where the source has embeddings for clips, nothing is derived.
        """
        names = self.state_dict()
        if any(prefix + name in state for name in names):
            return {}
        source = {name: state.get(f"encoder.vit.{name}") for name in names}
        return {prefix + name: value for name, value in source.items() if value is not None}

    def _part(self, name: str, vit: VisionTransformer) -> Any:
        return getattr(self if hasattr(self, name) else vit, name)
