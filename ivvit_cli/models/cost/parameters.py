"""Parameters, part by part."""

import re
from dataclasses import dataclass
from urllib.parse import unquote

from ivvit_cli.models.joint import JointModel

# The first pattern that a parameter's name has decides about its part.
_PARTS = (
    (r"^encoder\.vit\.blocks\.\d+\.(norm[12]|attn|mlp|ls[12])\.", "blocks"),
    (r"^encoder\.vit\.blocks\.", "in blocks, over time"),
    (r"^encoder\.vit\.patch_embed\.", "patches"),
    (r"^encoder\.vit\.(cls_token|dist_token|reg_token|pos_embed)$", "tokens and places"),
    (r"^encoder\.vit\.", "norms and pooling"),
    (r"^encoder\.", "for clips alone"),
)


@dataclass
class Part:
    """How many parameters a part has, and how many of them are trained."""

    total: int = 0
    trainable: int = 0


def count_parameters(model: JointModel) -> dict[str, Part]:
    """Return the parameters of each part of a model, in its order; `head NAME` is one dataset's."""
    parts: dict[str, Part] = {}
    for name, parameter in model.named_parameters():
        part = parts.setdefault(_part(name), Part())
        part.total += parameter.numel()
        part.trainable += parameter.numel() if parameter.requires_grad else 0
    return parts


def _part(name: str) -> str:
    if name.startswith("heads."):
        return f"head {unquote(name.split('.')[1])}"
    return next(part for pattern, part in _PARTS if re.search(pattern, name))
