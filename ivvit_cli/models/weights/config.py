"""What a config.json says that tensors do not: how many heads, and which activation."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from ivvit_cli.errors import InputError
from ivvit_cli.models.encoder import Encoder

# Hugging Face's names of activations, by timm's; each timm name is a value of `act_layer`.
_ACTIVATIONS = {
    "gelu": ("gelu",),
    "gelu_tanh": ("gelu_fast", "gelu_new", "gelu_pytorch_tanh"),
    "quick_gelu": ("quick_gelu",),
}
_CLASSES = {"GELU": "gelu", "GELUTanh": "gelu_tanh", "QuickGELU": "quick_gelu"}


def check_config(config: Mapping[str, Any], encoder: Encoder, source: str) -> None:
    """Refuse a model that would compute otherwise with the same tensors.

    Raises:
        InputError: the number of attention heads, or the activation, is another.
    """
    tower = config.get("vision_config")  # CLIP's has one for each of its towers
    config = tower if isinstance(tower, Mapping) else config
    block = encoder.vit.blocks[0]
    heads, ours = config.get("num_attention_heads"), block.attn.num_heads
    if heads is not None and heads != ours:
        raise InputError(
            f"{source}: was trained with {heads} attention heads, but the backbone has {ours}",
            hint=f"set model.backbone_args.num_heads={heads}",
        )
    theirs, own = _theirs(config), _own(block.mlp)
    if theirs and own and theirs != own:
        raise InputError(
            f"{source}: was trained with the activation {theirs}, but the backbone has {own}",
            hint=f"set model.backbone_args.act_layer={theirs}",
        )


def grid_side(config: Mapping[str, Any]) -> int | None:
    """Return how many patches lie side by side in an image of the source, where it says so."""
    image, tubelet = config.get("image_size"), config.get("tubelet_size")
    patch = tubelet[-1] if isinstance(tubelet, Sequence) and tubelet else config.get("patch_size")
    if not isinstance(image, int) or not isinstance(patch, int) or patch < 1:
        return None
    return image // patch or None


def activation_of(mlp: nn.Module) -> str | None:
    """Return Hugging Face's name of an MLP's activation; None where it has another."""
    names = _ACTIVATIONS.get(_own(mlp) or "")
    return names[-1] if names else None


def _theirs(config: Mapping[str, Any]) -> str | None:
    if config.get("use_swiglu_ffn"):  # DINOv2's giant, whose config names one that it does not use
        return None
    named = config.get("hidden_act")
    return next((name for name, theirs in _ACTIVATIONS.items() if named in theirs), None)


def _own(mlp: nn.Module) -> str | None:
    if not hasattr(mlp, "act"):
        return None
    act = mlp.act
    if isinstance(act, nn.GELU):
        return "gelu" if act.approximate == "none" else "gelu_tanh"
    return _CLASSES.get(type(act).__name__)
