"""Runs that cost nothing: a tiny model with random weights, saved as training saves it."""

import math

import numpy as np
import torch
from media import write_image, write_video
from PIL import Image

from ivvit_cli.models import build_model
from ivvit_cli.training.checkpoint import link, save_checkpoint
from shards import open_dataset
from shards.convert.dataset import convert

SIZE = 32  # pixels of the model's square input
MEAN, STD = (0.5, 0.4, 0.3), (0.5, 0.25, 0.2)
CLIP = {"sample": "uniform", "frames": 4, "seconds": None, "stride": None}
MODEL = {
    "backbone": "vit_tiny_patch16_224",
    "backbone_args": {
        "img_size": SIZE, "patch_size": 8, "depth": 2, "embed_dim": 32, "num_heads": 2,
    },
    "temporal": {"kind": "token_shift", "fold_div": 4},
}  # fmt: skip


def picture(height, width, seed):
    """Return a smooth random picture, uint8 (H, W, 3)."""
    small = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def film(frames, height, width, seed):
    """Return a cross-fade between two random pictures, uint8 (T, H, W, 3)."""
    first, last = (picture(height, width, seed + k).astype(float) for k in (0, 500))
    turns = np.linspace(0, 1, frames)
    return np.stack([(1 - turn) * first + turn * last for turn in turns]).astype(np.uint8)


def write_pictures(root, classes, per_class, *, split="val"):
    """Write `root/split/CLASS/*.png`, some upright, some wide, some square; return the paths."""
    shapes = [(40, 40), (36, 60), (70, 44)]
    paths = []
    for label, name in enumerate(classes):
        for number in range(per_class):
            path = root / split / name / f"{number:02d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_image(path, picture(*shapes[number % 3], seed=10 * label + number))
            paths.append(path)
    return paths


def write_films(root, classes, per_class, *, split="val"):
    """Write `root/split/CLASS/*.mp4` of 7 to 12 frames; return the paths."""
    paths = []
    for label, name in enumerate(classes):
        for number in range(per_class):
            path = root / split / name / f"{number:02d}.mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_video(path, film(7 + 5 * (number % 2), 48, 64, seed=10 * label + number), fps=12)
            paths.append(path)
    return paths


def make_shards(source, root, out, **options):
    """Convert a folder and return it opened."""
    convert(source, root, out, workers=1, **options)
    return open_dataset(out)


def save_run(
    run,
    datasets,
    *,
    iteration=20,
    seed=0,
    diverged=False,
    eval_split="val",
    precision="auto",
    min_short_side=None,
):
    """Save a checkpoint whose heads belong to `datasets` (name -> opened shards)."""
    torch.manual_seed(seed)
    net = build_model(MODEL, {name: len(shards.classes) for name, shards in datasets.items()})
    for head in net.heads.parameters():
        torch.nn.init.normal_(head, mean=math.nan if diverged else 0.0, std=0.2)
    meta = {
        "ivvit": "0",
        "model": MODEL,
        "input": {"size": SIZE, "mean": MEAN, "std": STD},
        "eval": {"views": "1x1", "average": "logits", "batch": 16, "precision": precision},
        "heads": {
            name: _head(shards, eval_split, min_short_side) for name, shards in datasets.items()
        },
        "metrics": {},
    }
    folder = save_checkpoint(run, iteration, weights=net.state_dict(), state={}, meta=meta)
    link(run, f"best-{next(iter(datasets))}", folder)
    return folder


def _head(shards, eval_split, min_short_side):
    options = shards.info.options
    return {
        "kind": shards.kind,
        "classes": shards.classes,
        "clip": CLIP if shards.kind == "video" else None,
        "conversion": {key: options.get(key) for key in ("short_side", "fps", "quality")},
        "shards": str(shards.folder),
        "eval_split": eval_split if eval_split in shards.info.splits else None,
        "min_short_side": min_short_side,
    }
