"""Shards to measure on: $IVVIT_DATA's (or data/'s), else made from generated media."""

import json
import os
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import webdataset
from PIL import Image

from shards.convert.dataset import convert
from shards.stream.dataset import open_dataset
from shards.stream.reader import Split


@cache
def split(name: str, kind: str) -> Split:
    """Open the training split of a dataset, or of a stand-in of its kind, which is said."""
    folder = Path(os.environ.get("IVVIT_DATA", "data")) / name
    if (folder / "dataset.json").exists():
        dataset = open_dataset(folder)
        return dataset[
            "train" if "train" in dataset.info.splits else next(iter(dataset.info.splits))
        ]
    print(f"{folder} is not there: measuring on generated {kind}s instead of {name}")
    work = Path(tempfile.mkdtemp(prefix="ivvit-bench-"))
    make = _videos if kind == "video" else _images
    make(work / "source" / "train" / "only")
    convert(f"{kind}folder", work / "source", work / "shards")
    return open_dataset(work / "shards")["train"]


def sources(split: Split) -> dict[str, Path]:
    """Return the source file of each sample by its key; nothing if those are not at hand."""
    tars = split.folder.glob(f"{split.dataset}-{split.name}-*.tar")
    names = {
        sample["__key__"]: json.loads(sample["json"])["source"]
        for sample in webdataset.WebDataset(sorted(map(str, tars)), shardshuffle=False)
    }
    data = Path(os.environ.get("IVVIT_TEST_DATA", "none"))
    for root in (split.folder.parent / "source", data / "UCF101", data / "kinetics400"):
        found = {key: root / name for key, name in names.items()}
        if all(path.exists() for path in found.values()):
            return found
    return {}


def _videos(folder: Path) -> None:
    """Write 20 clips of 320x240 at 25 fps, 6 s each."""
    folder.mkdir(parents=True)
    for number in range(20):
        source = f"mandelbrot=size=320x240:rate=25:start_scale={3 / (number + 1)}"
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-f", "lavfi", "-i", source]
        subprocess.run([*command, "-t", "6", str(folder / f"{number}.mp4")], check=True)


def _images(folder: Path) -> None:
    """Write 1000 JPEGs of 64x64."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for number in range(1000):
        small = Image.fromarray(generator.integers(0, 256, (16, 16, 3), np.uint8))
        small.resize((64, 64), Image.Resampling.BICUBIC).save(folder / f"{number}.jpg", quality=95)
