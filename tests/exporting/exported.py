"""Checkpoints to export: small models whose every parameter is random."""

from pathlib import Path
from typing import Any

import torch

from ivvit_cli.models import JointModel, build_model
from ivvit_cli.training.checkpoint import save_checkpoint

FRAMES, SIZE = 3, 16
SIZES = {"img_size": SIZE, "patch_size": 8, "embed_dim": 24, "num_heads": 3, "mlp_ratio": 2}
MEAN, STD = (0.5, 0.4, 0.3), (0.5, 0.25, 0.2)
CLIP = {"sample": "dense", "frames": FRAMES, "seconds": None, "stride": 2}
VIDEO, IMAGE = ("ucf", ["jump", "run", "Ride a Bike"]), ("pets.v1", ["cat", "dog"])


def save_model(
    run: Path,
    temporal: dict[str, Any] | None = None,
    heads: tuple[tuple[str, list[str]], ...] = (VIDEO, IMAGE),
    *,
    backbone: str = "vit_tiny_patch16_224",
    section: dict[str, Any] | None = None,
    **args: Any,
) -> tuple[JointModel, Path]:
    """Save a checkpoint as training does; return its model and its folder."""
    sizes = args if backbone.startswith("hiera") else {**SIZES, "depth": 1, **args}
    model = {"backbone": backbone, "backbone_args": sizes, **(section or {})}
    model["temporal"] = temporal or {"kind": "none"}
    net = build_model(model, {name: len(classes) for name, classes in heads}).eval()
    generator = torch.Generator().manual_seed(3)
    for parameter in net.parameters():  # those that start at 0 or 1 would hide mistakes
        noise = 0.3 * torch.randn(parameter.shape, generator=generator)
        parameter.data = noise + (1 if parameter.ndim == 1 else 0)
    meta = {
        "ivvit": "0",
        "model": model,
        "input": {"size": sizes["img_size"], "mean": MEAN, "std": STD},
        "eval": {"views": "1x1", "average": "logits", "batch": 16, "precision": "auto"},
        "heads": {name: _head(name, classes) for name, classes in heads},
        "metrics": {},
    }
    return net, save_checkpoint(run, 20, weights=net.state_dict(), state={}, meta=meta)


def _head(name: str, classes: list[str]) -> dict[str, Any]:
    return {
        "kind": "video" if classes == VIDEO[1] else "image",
        "classes": classes,
        "clip": CLIP if classes == VIDEO[1] else None,
        "conversion": {"short_side": 320, "fps": None, "quality": 3},
        "shards": f"data/{name}",
        "eval_split": None,
        "min_short_side": None,
    }


def normalised(pixels: torch.Tensor) -> torch.Tensor:
    """Return uint8 pixels (..., 3, H, W) as the model takes them."""
    mean, std = (torch.tensor(each)[:, None, None] for each in (MEAN, STD))
    return (pixels / 255 - mean) / std
