"""A file to the views that evaluation would take of it, had it been a sample of shards."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ivvit_cli.prediction.heads import Reading
from shards.convert.image import read_image
from shards.convert.video import read_video
from shards.errors import InputError
from shards.manifest import Kind
from shards.stream.decode import decode_frame
from shards.stream.views import ViewedSample, Views, view_sample


@dataclass(frozen=True)
class Media:
    """An image, a video or a window of one, as the conversion to shards would store it."""

    path: Path
    kind: Kind
    codec: str
    frames: Mapping[int, bytes]  # by number; of a window only those that are needed
    length: int  # frames, with those that are not needed
    fps: float  # 0 for an image
    width: int  # pixels
    height: int

    def decode(self, numbers: Sequence[int]) -> list[NDArray[np.uint8]]:
        """Return the pixels, (H, W, 3), of some frames.

        Raises:
            InputError: a frame is damaged; names the file.
        """
        try:
            return [decode_frame(self.frames[number], self.codec) for number in numbers]
        except InputError as error:
            raise InputError(f"{self.path}: {error.message}") from None


def read_media(
    path: Path, kind: Kind, *, short_side: int | None, fps: float | None, quality: int
) -> Media:
    """Convert a file as `ivvit shard` converts an item; `fps` and `quality` are for videos.

    Raises:
        InputError: the file cannot be read or decoded.
    """
    if kind == "image":
        image = read_image(path, short_side=short_side)
        return Media(path, kind, image.codec, {0: image.data}, 1, 0.0, image.width, image.height)
    video = read_video(path, short_side=short_side, fps=fps, quality=quality)
    frames = dict(enumerate(video.frames))
    rate = stored_rate(video.fps)
    return Media(path, kind, "jpg", frames, len(frames), rate, video.width, video.height)


def stored_rate(fps: float) -> float:
    """Return frames per second as the index of shards stores them."""
    return float(np.float32(fps))


def view_file(
    path: Path, kind: Kind, readings: Iterable[Reading], *, views: Views, size: int
) -> dict[Reading, ViewedSample]:
    """Return the views that each reading takes of a file, which equal conversions read once.

    Raises:
        InputError: the file cannot be read or decoded.
    """
    convert = cache(partial(read_media, path, kind))
    return {
        reading: view_media(convert(**reading.conversion), reading, views=views, size=size)
        for reading in readings
    }


def view_media(media: Media, reading: Reading, *, views: Views, size: int) -> ViewedSample:
    """Return the views that a reading takes of what its conversion has made.

    Raises:
        InputError: a frame is damaged.
    """
    return view_sample(
        index=0,
        key=media.path.name,
        label=-1,  # a file has none
        kind=media.kind,
        frames=media.length,
        fps=media.fps,
        width=media.width,
        height=media.height,
        read=media.decode,
        views=views,
        size=size,
        **(reading.clip if media.kind == "video" else {}),
    )
