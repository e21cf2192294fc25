"""Synthetic videos as shards, and batches of them: read as in training, or kept on the device."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from bench.gpu.sizes import Sizes
from ivvit_cli.demo.media import write_video
from shards.convert.dataset import convert
from shards.stream.dataset import open_dataset
from shards.stream.device import DeviceDecoder
from shards.stream.loader import Batch, TrainStream, UpdateLoader
from shards.stream.plan import Plan
from shards.stream.reader import Split

NAME = "clips"


def make_shards(sizes: Sizes, folder: Path) -> Split:
    """Draw videos that cost as much to decode as real ones, convert them, and open the shards."""
    source = folder / "source" / "train" / "only"
    source.mkdir(parents=True)
    for number in range(sizes.videos):
        write_video(source / f"{number:03d}.mp4", _film(sizes, number), fps=25)
    convert("videofolder", folder / "source", folder / "shards")
    return open_dataset(folder / "shards")["train"]


def _film(sizes: Sizes, seed: int) -> np.ndarray:
    """A picture of smooth patches and fine grain that drifts."""
    rng = np.random.default_rng(seed)
    height, width = sizes.shape
    coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8))
    picture = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), np.int16)
    picture = picture + rng.normal(0, 9, picture.shape).astype(np.int16)
    frames = [np.roll(picture, 2 * t, axis=1) for t in range(sizes.length)]
    return np.stack(frames).clip(0, 255).astype(np.uint8)


def stream(split: Split, sizes: Sizes, frames: int, batch: int) -> TrainStream:
    """Clips over the whole video, cropped as IV-ViT 5.3 does."""
    plan = Plan(NAME, len(split), batch, 0)
    return TrainStream(split, plan, sizes.size, sample="uniform", length=frames)


@contextmanager
def batches(
    clips: TrainStream, device: torch.device, decoder: DeviceDecoder | None = None
) -> Iterator[Iterator[Batch]]:
    """Read without end, as a training does."""
    updates = ({NAME: step} for step in count())
    pin = device.type == "cuda"
    with UpdateLoader({NAME: clips}, updates, pin=pin, decoder=decoder) as loader:
        yield (update[NAME] for update in loader)
