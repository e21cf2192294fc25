"""Test-time views: K clips x C crops of a sample, every distinct frame of it decoded once."""

import re
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from shards.errors import UsageError
from shards.manifest import Kind
from shards.stream.ahead import Ahead
from shards.stream.augment import render
from shards.stream.clips import Frames, Sampling, place_clips
from shards.stream.crops import Crop, view_crops
from shards.stream.decode import Pixels
from shards.stream.device import DeviceDecoder, Encoded
from shards.stream.memory import Empty, frame_memory
from shards.stream.pool import choose_threads
from shards.stream.reader import Split


@dataclass(frozen=True)
class Views:
    """How many clips of a video and how many crops of a frame are looked at."""

    clips: int
    crops: int

    def __str__(self) -> str:
        return f"{self.clips}x{self.crops}"


def parse_views(text: str) -> Views:
    """Read CLIPSxCROPS, as in `10x3`.

    Raises:
        UsageError: the text is not two positive whole numbers around an x.
    """
    match = re.fullmatch(r"([1-9][0-9]{0,3})x([1-9][0-9]{0,3})", text)
    if match is None:
        raise UsageError(f"views {text!r}: not CLIPSxCROPS", hint="for example 1x1, 1x3 or 10x3")
    return Views(int(match[1]), int(match[2]))


@dataclass
class ViewedSample:
    """A sample's distinct frames and how its views are made of them."""

    index: int
    key: str
    label: int
    kind: Kind
    frames: Tensor  # uint8 (U, H, W, 3): each needed frame once, cut to what the crops need
    clips: Frames  # (K, T) rows of `frames`
    boxes: Tensor  # float64 (C, 4): top, left, height, width within `frames`, in pixels

    def render(
        self,
        size: int,
        mean: Sequence[float],
        std: Sequence[float],
        device: torch.device | str = "cpu",
    ) -> Tensor:
        """Return the views, float32, on `device`: clip by clip, and within a clip crop by crop.

        Returns:
            (V, 3, S, S) for an image, (V, T, 3, S, S) for a video, with V = K * C.
        """
        move = partial(torch.Tensor.to, device=device, non_blocking=True)
        frames, boxes = move(self.frames), move(self.boxes)
        cut = move(torch.tensor([[0, 0, *frames.shape[1:3]]]))
        straight = torch.zeros(1, dtype=torch.bool, device=device)
        crops = [
            render(frames[None], box[None], cut, straight, size=size, mean=mean, std=std)
            for box in boxes
        ]
        pixels = torch.cat(crops)  # (C, U, 3, S, S)
        if self.kind == "image":
            return pixels[:, 0]
        clips = move(torch.from_numpy(self.clips))
        return pixels[:, clips].transpose(0, 1).flatten(0, 1)  # (C, K, T, ...) -> (V, T, 3, S, S)


def view_sample(
    *,
    index: int,
    key: str,
    label: int,
    kind: Kind,
    frames: int,
    fps: float,
    width: int,
    height: int,
    read: Callable[[Sequence[int]], Iterable[Pixels | Tensor]],
    views: Views,
    size: int,
    sample: Sampling = "window",
    length: int = 1,
    seconds: float | None = None,
    stride: int | None = None,
    empty: Empty | None = None,
) -> ViewedSample:
    """Decode what the views of a sample need.

    An image has no clips, and its crops count once each: a square one has a single view.

    Args:
        index, key, label, kind: handed through.
        frames, fps, width, height: of the stored sample.
        read: gives the decoded frames (H, W, 3) of the given ascending numbers, one by one.
        views: clips and crops.
        size: the side of the model's square input, which is the crops' short side, in pixels.
        sample, length, seconds, stride: the clip (`shards.stream.clips`).
        empty: gives the uint8 memory for the frames, on any device; fresh memory by default.

    Raises:
        InputError: whatever `read` raises, or a `window` of a video without a frame rate.
    """
    crops = view_crops(height, width, size=size, crops=views.crops)
    if kind == "image":
        crops, clips = list(dict.fromkeys(crops)), np.zeros((1, 1), np.int64)
    else:
        clips = place_clips(
            frames,
            fps,
            clips=views.clips,
            sample=sample,
            length=length,
            seconds=seconds,
            stride=stride,
        )
    numbers, rows = np.unique(clips, return_inverse=True)
    (top, left, bottom, right), boxes = _common_cut(crops)
    pixels = (empty or frame_memory(pin=False))((len(numbers), bottom - top, right - left, 3))
    rooms = pixels if pixels.is_cuda else pixels.numpy()
    for room, frame in zip(rooms, read(numbers.tolist()), strict=True):
        room[:] = frame[top:bottom, left:right]
    return ViewedSample(index, key, label, kind, pixels, rows.reshape(clips.shape), boxes)


def _common_cut(crops: Sequence[Crop]) -> tuple[list[int], Tensor]:
    """Return the least top, left, bottom, right around all cuts, and the boxes (C, 4) in it."""
    cuts = np.array([crop.cut for crop in crops])
    start, end = cuts[:, :2].min(0), (cuts[:, :2] + cuts[:, 2:]).max(0)
    boxes = np.array([crop.box for crop in crops])
    boxes[:, :2] += cuts[:, :2] - start
    return [*start.tolist(), *end.tolist()], torch.from_numpy(boxes)


_LOOK_AHEAD = 256  # samples whose shards are fetched, of a remote dataset


class ViewLoader(Ahead[int, Future[ViewedSample], ViewedSample]):
    """Iterate over the viewed samples of a split, in order, decoded ahead by threads.

    Args:
        split: the shards.
        views, size, sample, length, seconds, stride: as in `view_sample`.
        indices: which samples; all by default.
        threads: decoding threads, or 0 for none: the caller decodes. By default one per core, and
            at least 32 if the dataset is remote.
        prefetch: samples in the making beside the one handed out; by default two per thread.
        pin: put frames into page-locked memory, for copies to a GPU that do not block.
        decoder: decodes on a GPU; the samples' frames are there, then.

    Raises:
        InputError: (by `next`) a sample cannot be read; names dataset, shard and key.
    """

    def __init__(
        self,
        split: Split,
        *,
        views: Views,
        size: int,
        sample: Sampling = "window",
        length: int = 1,
        seconds: float | None = None,
        stride: int | None = None,
        indices: Sequence[int] | None = None,
        threads: int | None = None,
        prefetch: int | None = None,
        pin: bool = False,
        decoder: DeviceDecoder | None = None,
    ) -> None:
        threads = choose_threads(threads, remote=split.is_remote)
        self._coming = range(len(split)) if indices is None else indices
        ahead = (prefetch or 2 * threads) if threads else 0
        super().__init__(self._coming, threads=threads, prefetch=ahead)
        self._split = split
        self._decoder = decoder
        self._started = 0
        self._view = partial(
            view_sample,
            kind=split.kind,
            views=views,
            size=size,
            sample=sample,
            length=length,
            seconds=seconds,
            stride=stride,
            empty=decoder.empty if decoder else frame_memory(pin=pin),
        )

    def _start(self, item: int) -> Future[ViewedSample]:
        if self._started % _LOOK_AHEAD == 0:
            self._split.expect(self._coming[self._started : self._started + 2 * _LOOK_AHEAD])
        self._started += 1
        return self._pool.submit(self._look, item)

    def _look(self, index: int) -> ViewedSample:
        record = self._split.samples[index]
        return self._view(
            index=index,
            key=self._split.key(index),
            label=self._split.label(index),
            frames=int(record["frames"]),
            fps=float(record["fps"]),
            width=int(record["width"]),
            height=int(record["height"]),
            read=partial(self._frames, index),
        )

    def _frames(self, index: int, numbers: Sequence[int]) -> Iterable[Pixels | Tensor]:
        if self._decoder is None:
            return self._split.pixels(index, numbers, reuse=True)
        encoded = [Encoded(self._split, index, data) for data in self._split.read(index, numbers)]
        return self._decoder.decode(encoded)

    def _finish(self, pending: Future[ViewedSample]) -> ViewedSample:
        return pending.result()
