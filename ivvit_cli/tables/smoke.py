"""A table made small: the same rows on made-up data, with a tiny backbone, for a few steps.

It checks the machinery (recipes, schedules, temporal kinds, evaluation), and measures nothing.
"""

import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ivvit_cli.config import Recipe
from ivvit_cli.demo.datasets import MOVING, SHAPES, DemoSet
from shards.convert.dataset import convert
from shards.manifest import DATASET_FILE

_FRAMES, _BATCH, _ITERATIONS, _DEPTH, _HEADS = 4, 4, 4, 2, 4
_VIT = {
    "backbone": "vit_tiny_patch16_224",
    "backbone_args": {
        "img_size": 32,
        "patch_size": 8,
        "embed_dim": 48,
        "depth": _DEPTH,
        "num_heads": _HEADS,
    },
}
_HIERA = {
    "backbone": "hiera_tiny_224",
    "backbone_args": {"img_size": 64, "embed_dim": 8, "stages": [2, 1, 3, 2]},
}
_PER_CLASS = {"train": 3, "val": 1}
_CHANGED_BY_WEIGHTS = ("weights", "head")


def shrink(recipe: Recipe, folder: Path) -> dict[str, Any]:
    """Return a recipe of the same kind that runs in seconds, as plain values.

    Kept: the temporal kind and its options as far as they fit, the datasets and their order, the
    schedule, what is frozen and what is separate. The backbone has 2 blocks of width 48 in 4 heads,
    17 tokens (a Hiera 8 blocks from width 8); clips have 4 frames; there are 4 iterations.

    Args:
        folder: where `make_data` has put the stand-ins.
    """
    values = recipe.model_dump(mode="json")
    model, schedule = values["model"], values["schedule"]
    tiny = _HIERA if model["backbone"].startswith("hiera") else _VIT
    model |= {**tiny, "parts": {}, **dict.fromkeys(_CHANGED_BY_WEIGHTS)}
    _fit(model["temporal"])
    values["input"] = {}
    for name, section in values["data"].items():
        section |= {"shards": str(folder / name), "split": "train", "min_short_side": None}
        section["batch"] = _BATCH if section["batch"] else None
        section["augment"]["short_side"] = None
        if section["clip"]:
            section["clip"] = {"sample": "uniform", "frames": _FRAMES}
    schedule |= {"iterations": _ITERATIONS, "epochs": None}
    schedule["batch"] = 4 * _BATCH if schedule["batch"] else None
    values["optim"] |= {"warmup": 0, "milestones": [2], "lr": 1e-3}
    values["train"] |= {"accumulate": 1, "compile": False, "precision": "fp32"}
    values["eval"] |= {"every": None, "batch": 4}
    values["checkpoint"] |= {"every": None}
    return values


def _fit(temporal: dict[str, Any]) -> None:
    """Make a temporal kind's numbers fit the tiny backbone."""
    if "frames" in temporal:
        temporal["frames"] = _FRAMES
    if temporal["kind"] == "msca":
        most = 8 if temporal["variant"].startswith("p") else _HEADS // 2
        for side in ("backward", "forward"):
            if temporal[side] is not None:
                temporal[side] = min(temporal[side], most)
        if temporal["blocks"] != "all":
            temporal["blocks"] = (
                f"last:{min(_DEPTH, int(temporal['blocks'].removeprefix('last:')))}"
            )
    if temporal["kind"] == "am_flow":
        temporal["blocks"] = "all" if temporal["blocks"] == "all" else [1, _DEPTH]
        if temporal["flow"].get("heads"):
            temporal["flow"]["heads"] = _HEADS
        temporal["adapter"] |= {"width": 8}
        for key in ("hidden", "heads"):
            if temporal["unit"].get(key):
                temporal["unit"][key] = 8 if key == "hidden" else _HEADS


def make_data(recipes: Iterable[Recipe], folder: Path) -> None:
    """Draw and convert a stand-in for every dataset of some recipes that is not there yet."""
    kinds = {
        name: "video" if section.clip else "image"
        for recipe in recipes
        for name, section in recipe.data.items()
    }
    for name, kind in kinds.items():
        if not (folder / name / DATASET_FILE).is_file():
            _make(MOVING if kind == "video" else SHAPES, folder, name)


def _make(drawn: DemoSet, folder: Path, name: str) -> None:
    media = folder / "media" / name
    shutil.rmtree(media, ignore_errors=True)  # what was stopped halfway has classes of both names
    replace(drawn, name=name, per_class=_PER_CLASS).write(media, seed=0)
    for classes in [*media.glob("*/*")]:  # of its own, as a head is kept where they are the same
        classes.rename(classes.with_name(f"{classes.name}-{name}"))
    convert("imagefolder" if drawn.kind == "image" else "videofolder", media, folder / name)
