"""What others write to read training clips: decode frames, resize, crop, flip, normalise."""

import io
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
import webdataset
from PIL import Image
from torch import Tensor
from torchvision.transforms import functional as pil
from torchvision.transforms.v2 import functional as tensors

from bench.readers import Reader

SIZE, SHORT_SIDES, SECONDS, LENGTH = 224, (224, 320), 2.67, 16
MEAN = STD = (0.5, 0.5, 0.5)

Frames = list[Image.Image]


@dataclass(frozen=True)
class Peer:
    """Three iterators over the same clips."""

    decoded: Callable[[], Iterable[object]]
    cropped: Callable[[], Iterable[object]]  # uint8
    finished: Callable[[int], Iterable[Tensor]]  # float batches of so many clips


def webdataset_pil(tar: Path, frames: Sequence[bytes]) -> Peer:
    """A tar of a member per frame, and PIL; decoding alone is that of the frames a clip needs."""
    return Peer(
        lambda: map(open_pil, frames),
        lambda: _frames_of(tar),
        lambda count: _batches(map(_to_tensor, _frames_of(tar)), count),
    )


def video_reader(reader: Reader, clips: Sequence[tuple[Path, list[int]]]) -> Peer:
    """Source videos, and torchvision's transforms of tensors."""

    def read() -> Iterator[Tensor]:
        return (reader(path, numbers) for path, numbers in clips)

    return Peer(
        read,
        lambda: map(_crop_tensor, read()),
        lambda count: _batches(map(_normalise, map(_crop_tensor, read())), count),
    )


def open_pil(data: bytes) -> Image.Image:
    """Decode one frame with PIL."""
    return Image.open(io.BytesIO(data)).convert("RGB")


def _frames_of(tar: Path) -> Iterator[Frames]:
    for sample in webdataset.WebDataset(str(tar), shardshuffle=False):
        names = sorted(name for name in sample if name.endswith(".jpg"))
        window = min(round(SECONDS * float(sample["fps"])), len(names))
        start = random.randint(0, len(names) - window)
        numbers = start + np.linspace(0, window - 1, LENGTH).astype(int)
        short, flip, corner = _dice()
        yield [_crop_pil(open_pil(sample[names[k]]), short, corner, flip) for k in numbers]


def _dice() -> tuple[int, bool, tuple[float, float]]:
    return random.randint(*SHORT_SIDES), random.random() < 0.5, (random.random(), random.random())


def _crop_pil(
    image: Image.Image, short: int, corner: tuple[float, float], flip: bool
) -> Image.Image:
    image = pil.resize(image, short)
    top, left = int(corner[0] * (image.height - SIZE)), int(corner[1] * (image.width - SIZE))
    image = pil.crop(image, top, left, SIZE, SIZE)
    return pil.hflip(image) if flip else image


def _crop_tensor(clip: Tensor) -> Tensor:
    short, flip, corner = _dice()
    clip = tensors.resize(clip, [short], antialias=True)
    top, left = (int(c * (side - SIZE)) for c, side in zip(corner, clip.shape[-2:], strict=True))
    clip = tensors.crop(clip, top, left, SIZE, SIZE)
    return tensors.horizontal_flip(clip) if flip else clip


def _to_tensor(clip: Frames) -> Tensor:
    return torch.stack([pil.normalize(pil.to_tensor(frame), MEAN, STD) for frame in clip])


def _normalise(clip: Tensor) -> Tensor:
    return tensors.normalize(tensors.to_dtype(clip, torch.float32, scale=True), MEAN, STD)


def _batches(clips: Iterable[Tensor], count: int) -> Iterator[Tensor]:
    clips = iter(clips)
    while some := list(islice(clips, count)):
        yield torch.stack(some)
