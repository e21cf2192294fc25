"""The backbone: any ViT or Hiera that timm can build, its parameter names untouched."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import timm
from timm.models.hiera import Hiera
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from ivvit_cli.errors import UsageError
from ivvit_cli.models.attention import LeanAttention
from ivvit_cli.models.drop_path import share_drop_paths
from ivvit_cli.models.hiera import name_as_vit

# timm's files whose models are `VisionTransformer` or `Hiera`; its other ViTs (eva, beit, sam) are
# classes of their own, with other blocks and another forward.
_MODULES = ("vision_transformer", "vision_transformer_hybrid", "deit", "hiera")
# Arguments of timm.create_model that would load weights, or that this package sets itself.
_RESERVED = {
    "block_fn",
    "checkpoint_path",
    "in_chans",
    "num_classes",
    "pretrained",
    "pretrained_cfg",
    "pretrained_cfg_overlay",
}


@dataclass(frozen=True)
class InputSpec:
    """What a backbone was made for: the side of its square input in pixels, and its colours."""

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


def create_vit(name: str, args: Mapping[str, Any]) -> VisionTransformer | Hiera:
    """Build a timm ViT without its classifier and with fresh weights.

    Args:
        name: a model of timm, perhaps with a pretraining tag (`vit_base_patch16_224.orig_in21k`),
            which decides the input's mean and std.
        args: further arguments of the model, such as `img_size`, `depth` or `drop_path_rate`.

    Raises:
        UsageError: timm has no such ViT, or it does not take these arguments.
    """
    check_vit_name(name)
    if reserved := sorted(_RESERVED & set(args)):
        raise UsageError(f"backbone_args: {reserved[0]} cannot be set there")
    is_hiera = name.startswith("hiera_")
    own = {} if is_hiera else {"attn_layer": LeanAttention}
    try:
        vit = timm.create_model(name, pretrained=False, num_classes=0, **{**own, **args})
    except (AssertionError, AttributeError, RuntimeError, TypeError, ValueError) as error:
        raise UsageError(f"backbone {name}: timm cannot build it so: {_line(error)}") from error
    if is_hiera:
        name_as_vit(vit)
    if vit.global_pool == "":
        raise UsageError(f"backbone {name}: global_pool must leave one feature per frame, not ''")
    share_drop_paths(vit)
    return vit


def list_vits() -> list[str]:
    """Return the names of the Vision Transformers that timm can build."""
    return [model for module in _MODULES for model in timm.list_models(module=module)]


def check_vit_name(name: str) -> None:
    """Raise UsageError, with the nearest names, unless timm has a ViT of this name."""
    known = list_vits()
    architecture = name.partition(".")[0]
    if architecture in known:
        return
    kind = "is no Vision Transformer" if timm.is_model(architecture) else "is unknown to timm"
    close = difflib.get_close_matches(architecture, known, n=3) or ["vit_base_patch16_224"]
    raise UsageError(f"backbone {name}: {kind}", hint=f"did you mean {' or '.join(close)}?")


def input_spec(vit: VisionTransformer) -> InputSpec:
    """Return what the backbone is fed: its own image size, the colours of its pretraining.

    Raises:
        UsageError: the backbone was built for images that are not square.
    """
    height, width = vit.patch_embed.img_size
    if height != width:
        raise UsageError(f"backbone_args: img_size must be square, not {height} x {width}")
    cfg = vit.pretrained_cfg
    return InputSpec(height, tuple(cfg["mean"]), tuple(cfg["std"]))


def prefix_tokens(vit: VisionTransformer) -> dict[str, Tensor]:
    """Return the learned tokens before the patches by their names, in the order of the input."""
    names = ("cls_token", "dist_token", "reg_token")
    tokens = {name: getattr(vit, name, None) for name in names}
    return {name: token for name, token in tokens.items() if token is not None}


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
