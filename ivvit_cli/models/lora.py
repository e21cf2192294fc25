"""LoRA: low-rank updates beside a frozen ViT's linear layers, by the library peft.

Hu et al., LoRA: Low-Rank Adaptation of Large Language Models, ICLR 2022.
"""

import re
from collections.abc import Mapping, Sequence

from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from ivvit_cli.errors import EnvironmentFault, UsageError

_BASE = ".base_layer."  # where peft keeps the layer that it wraps


def add_lora(
    vit: VisionTransformer,
    *,
    rank: int = 8,
    alpha: int | None = None,
    dropout: float = 0.0,
    targets: Sequence[str] = ("qkv", "proj"),
) -> None:
    """Put low-rank updates, which start at zero, beside layers of every block.

    Layers that a temporal kind has added (`temporal_…`) are none of them.

    Args:
        vit: all of it frozen.
        rank: r of the updates.
        alpha: they are scaled by alpha / r; 2 r unless given.
        dropout: of their input.
        targets: `qkv` and `proj` of attention, `fc1` and `fc2` of the MLP.

    Raises:
        UsageError: the ViT is not frozen, or has no such layers.
        EnvironmentFault: peft is not installed.
    """
    if any(parameter.requires_grad for parameter in vit.parameters()):
        raise UsageError("model.lora: is for a frozen backbone", hint="set model.freeze=[backbone]")
    names = _layers(vit, targets)
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError:
        raise EnvironmentFault(
            "model.lora: needs the package peft", hint="pip install 'ivvit[lora]'"
        ) from None
    config = LoraConfig(
        r=rank, lora_alpha=alpha or 2 * rank, lora_dropout=dropout, target_modules=names
    )
    inject_adapter_in_model(config, vit)


def name_wrapped(state: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Give tensors of a plain ViT the names that they have in a model with LoRA."""
    wrapped = {name.replace(_BASE, "."): name for name in model.state_dict() if _BASE in name}
    return {wrapped.get(name, name): tensor for name, tensor in state.items()}


def fresh_updates(model: nn.Module, prefix: str) -> dict[str, Tensor]:
    """Return the low-rank updates of a model as they are."""
    state = model.state_dict(prefix=prefix)
    return {name: tensor for name, tensor in state.items() if ".lora_" in name}


def _layers(vit: VisionTransformer, targets: Sequence[str]) -> list[str]:
    found = []
    for target in targets:
        layer = re.compile(rf"blocks\.\d+\.(?:attn|mlp)\.{re.escape(target)}")
        names = [
            name
            for name, module in vit.named_modules()
            if layer.fullmatch(name) and isinstance(module, nn.Linear)
        ]
        if not names:
            raise UsageError(f"model.lora: the backbone's blocks have no layer {target}")
        found += names
    return found
