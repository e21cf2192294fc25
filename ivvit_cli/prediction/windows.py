"""A video of any length as windows, each read as a video of its own would be.

Window k begins k hops after the video's first frame. The first window that reaches the video's end
is the last one, and is cut there. All come from one pass over the file for each way of converting
that the heads have, which writes only the frames that some window needs; of these, only those of
windows that are not complete are held.
"""

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from fractions import Fraction
from itertools import takewhile
from math import floor
from pathlib import Path

import simplejpeg

from ivvit_cli.prediction.heads import Reading
from ivvit_cli.prediction.media import Media, stored_rate, view_media
from shards.convert.errors import BadMedia
from shards.convert.longvideo import VideoFacts, look_at_video, stream_video
from shards.convert.picking import Picking
from shards.convert.video import SHORT_SIDE
from shards.stream.clips import place_clips
from shards.stream.pool import available_cores
from shards.stream.views import ViewedSample, Views

MAX_SECONDS = 48 * 3600  # of a video: a file may state any times
MAX_BYTES = 1 << 30  # of encoded frames that are held
_MARGIN = 1.0  # seconds by which a file may be shorter than it says


@dataclass(frozen=True)
class Windows:
    """How a video is divided: the seconds of a window, and from one's start to the next one's."""

    seconds: float
    hop: float


@dataclass(frozen=True)
class Window:
    """A part of a video: its start and end in seconds, and what each reading sees of it."""

    start: float
    end: float
    views: Mapping[Reading, ViewedSample]


def view_windows(
    path: Path, readings: Iterable[Reading], windows: Windows, *, views: Views, size: int
) -> Generator[Window, None, None]:
    """Yield a video's windows, in order, while it is decoded.

    Args:
        size: the side of the model's input, in pixels. Readings that leave videos as large as they
            are get them at this short side, or at 320 pixels where that is more.

    Raises:
        InputError: (by `next`) the file cannot be read or decoded, or it lasts more than 48 hours.
    """
    facts = look_at_video(path)
    streams = [
        _view_stream(path, group, windows, facts, views=views, size=size)
        for group in _by_conversion(readings)
    ]
    with ExitStack() as stack:
        for stream in streams:
            stack.enter_context(closing(stream))
        for parts in zip(*streams, strict=False):  # other rates may differ by a last frame
            seen = {reading: view for part in parts for reading, view in part.views.items()}
            yield Window(parts[0].start, parts[0].end, seen)


def _by_conversion(readings: Iterable[Reading]) -> list[list[Reading]]:
    groups: dict[tuple[object, ...], list[Reading]] = {}
    for reading in readings:
        groups.setdefault(tuple(reading.conversion.values()), []).append(reading)
    return list(groups.values())


def _view_stream(
    path: Path,
    readings: Sequence[Reading],
    windows: Windows,
    facts: VideoFacts,
    *,
    views: Views,
    size: int,
) -> Generator[Window, None, None]:
    """Yield the windows as readings of one conversion see them."""
    shared = readings[0]
    rate = facts.rate if shared.fps is None else Fraction(shared.fps).limit_denominator(1001)
    picking = _plan(path, readings, windows, float(rate), facts.seconds, views)
    frames = stream_video(
        path,
        short_side=shared.short_side or max(SHORT_SIDE, size),
        rate=rate,
        quality=shared.quality,
        pick=picking.expression,
        repair=facts.repair,
        threads=available_cores(),
    )
    with closing(frames):
        for number, part in enumerate(
            cut_windows(path, frames, picking, most=int(MAX_SECONDS * rate))
        ):
            media = _as_media(path, part, float(rate))
            start = number * windows.hop
            is_full = part.length == picking.length
            end = start + (windows.seconds if is_full else part.length / float(rate))
            seen = {each: view_media(media, each, views=views, size=size) for each in readings}
            yield Window(start, end, seen)


def _plan(
    path: Path,
    readings: Iterable[Reading],
    windows: Windows,
    rate: float,
    seconds: float | None,
    views: Views,
) -> Picking:
    if windows.hop * rate < 1:
        raise BadMedia(path, f"has {rate:g} frames a second, too few for a hop of {windows.hop:g}")
    length = max(1, floor(windows.seconds * rate + 0.5))
    clips = [
        place_clips(length, stored_rate(rate), clips=views.clips, **reading.clip)
        for reading in readings
    ]
    offsets = sorted({int(number) for clip in clips for number in clip.flat})
    sure = 0.0 if seconds is None else seconds - windows.seconds - _MARGIN
    return Picking(length, windows.hop * rate, offsets, tail=max(0, floor(sure * rate)))


@dataclass(frozen=True)
class Part:
    """A window's length in frames, and those of them that are needed, by their number in it."""

    length: int
    frames: Mapping[int, bytes]


def cut_windows(
    path: Path, frames: Iterable[bytes], picking: Picking, *, most: int
) -> Iterator[Part]:
    """Put the picked frames of a video together to its windows, each as soon as it is complete.

    Raises:
        InputError: there are frames beyond number `most`, or a window takes more than 1 GiB.
    """
    held = _Held(path)
    window, number = 0, -1
    for number, frame in zip(picking.numbers(), frames, strict=False):
        if number > most:
            raise BadMedia(path, f"lasts more than {MAX_SECONDS // 3600} hours")
        if number >= picking.start(window):  # not between two windows
            held.add(number, frame)
        while picking.start(window) + picking.length <= number + 1:
            yield held.part(picking.start(window), picking.length)
            window += 1
            held.drop(picking.start(window))
    start, end = picking.start(window), number + 1
    reached = picking.start(window - 1) + picking.length if window else 0
    if max(start, reached) < end:
        yield held.cut_part(start, end - start)


class _Held:
    """The frames of windows that are not complete."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._frames: dict[int, bytes] = {}  # ascending
        self._bytes = 0

    def add(self, number: int, frame: bytes) -> None:
        self._frames[number] = frame
        self._bytes += len(frame)
        if self._bytes > MAX_BYTES:
            raise BadMedia(self._path, "a window's frames take more than 1 GiB")

    def drop(self, before: int) -> None:
        for number in list(takewhile(lambda number: number < before, self._frames)):
            self._bytes -= len(self._frames.pop(number))

    def part(self, start: int, length: int) -> Part:
        numbers = (number for number in self._frames if start <= number < start + length)
        return Part(length, {number - start: self._frames[number] for number in numbers})

    def cut_part(self, start: int, length: int) -> Part:
        """Return a last window; a frame that was not picked is the one before.

        All of them are there, unless the file says that it lasts longer than it does.
        """
        known = self.part(start, length).frames
        shown = next(iter(known.values()))
        frames = {}
        for number in range(length):
            shown = known.get(number, shown)
            frames[number] = shown
        return Part(length, frames)


def _as_media(path: Path, part: Part, rate: float) -> Media:
    height, width = simplejpeg.decode_jpeg_header(next(iter(part.frames.values())))[:2]
    return Media(path, "video", "jpg", part.frames, part.length, stored_rate(rate), width, height)
