"""Small models for the tests: built in milliseconds, with no weight left at a special value."""

from typing import Any, TypeVar

import timm
import torch
from torch import nn

from ivvit_cli.models import JointModel, build_model

Module = TypeVar("Module", bound=nn.Module)

SMALL = {
    "img_size": 16,
    "patch_size": 8,
    "embed_dim": 24,
    "depth": 2,
    "num_heads": 3,
    "mlp_ratio": 2,
}


def small_model(
    backbone: str = "vit_tiny_patch16_224",
    heads: dict[str, int] | None = None,
    temporal: dict[str, Any] | None = None,
    seed: int = 0,
    model: dict[str, Any] | None = None,
    **args: Any,
) -> JointModel:
    """Build a small model in evaluation mode whose every parameter is random."""
    section = {"backbone": backbone, "backbone_args": {**SMALL, **args}, **(model or {})}
    built = build_model(section | ({"temporal": temporal} if temporal else {}), heads or {"a": 5})
    return randomise(built, seed).eval()


def timm_vit(classes: int = 7, seed: int = 3) -> torch.nn.Module:
    """Build timm's own model of the sizes of `SMALL`, every parameter random."""
    vit = timm.create_model("vit_tiny_patch16_224", num_classes=classes, **SMALL)
    return randomise(vit, seed).eval()


def randomise(module: Module, seed: int = 0) -> Module:
    """Replace every parameter: biases that start at 0 and scales at 1 would hide mistakes."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            noise = torch.randn(parameter.shape, generator=generator) * 0.3
            parameter.copy_(noise + (1 if parameter.ndim == 1 else 0))
    return module


def images(*shape: int, seed: int = 1) -> torch.Tensor:
    """Return normal noise of the given shape."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def assert_same(model: JointModel, vit: torch.nn.Module, head: str | None = None) -> None:
    """Compare the features, or one head's logits, with those of timm's own model."""
    x = images(2, 3, 16, 16)
    if head is None:
        assert torch.equal(model.encoder(x, "")[0], vit.forward_head(vit.forward_features(x), True))
    else:
        assert torch.equal(model(x, head), vit(x))
