"""Some frames of a video of any length: one ffmpeg process from start to end, and none is held."""

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path

import simplejpeg

from shards.convert.command import Repair, ffmpeg_command
from shards.convert.errors import BadMedia
from shards.convert.ffmpeglog import lacks_filter, needed_repair, stated_rate, stated_seconds
from shards.convert.gif import check_whole
from shards.convert.media import sniff_kind
from shards.convert.mjpeg import split_chunks
from shards.convert.process import LimitExceeded, Limits, run_bounded, stream_bounded
from shards.convert.video import checked

LIMITS = Limits(seconds=1800.0)  # without a frame: few may be needed
MAX_RATE = Fraction(240)  # a file may state any
_USUAL_RATE = Fraction(25)  # where it states none
_MOST_THREADS = 4  # of the decoder; each holds frames


@dataclass(frozen=True)
class VideoFacts:
    """What the head of a video says: frames per second, seconds (None: unknown), and repairs."""

    rate: Fraction
    seconds: float | None
    repair: Repair


def look_at_video(path: Path, limits: Limits = LIMITS) -> VideoFacts:
    """Read the head of a video and its first frame.

    Raises:
        InputError: the file is missing, no video, or damaged so early.
        EnvironmentFault: ffmpeg cannot be run.
    """
    sniff_kind(path)
    command = partial(ffmpeg_command, path, short_side=16, fps=None, quality=31, frames=1)
    try:
        check_whole(path)
        done = checked(path, run_bounded(command, limits))
        if not done.output:
            raise ValueError("holds no frame")
        repair = needed_repair(done.errors)
        if repair and lacks_filter(run_bounded(partial(command, repair=repair), limits)):
            repair = Repair()
    except (ValueError, LimitExceeded) as error:
        raise BadMedia(path, str(error)) from None
    rate = min(stated_rate(done.errors) or _USUAL_RATE, MAX_RATE)
    return VideoFacts(rate, stated_seconds(done.errors), repair)


def stream_video(
    path: Path,
    *,
    short_side: int,
    rate: Fraction,
    quality: int,
    pick: str,
    repair: Repair,
    threads: int,
    limits: Limits = LIMITS,
) -> Generator[bytes, None, None]:
    """Yield the picked frames of a video as JPEG files, in order, while ffmpeg decodes it.

    Closing the iterator ends ffmpeg.

    Args:
        path: the video file.
        short_side: pixels that the shorter side is reduced to; never enlarged.
        rate: frames per second that the video is brought to; a frame is repeated or left out where
            its own times differ. Frames are numbered at this rate, from the first one.
        quality: ffmpeg's `-q:v`, 2 (best) to 31.
        pick: the frames to yield, as an expression of `n` (`shards.convert.picking`).
        repair: as `look_at_video` has found.
        threads: of the decoder, at most 4.
        limits: what the process may use; `seconds` without a frame.

    Raises:
        InputError: (by `next`) the file is damaged, cut short, or beyond the limits.
        EnvironmentFault: (by `next`) ffmpeg cannot be run.
    """
    command = ffmpeg_command(
        path,
        None,
        short_side=short_side,
        fps=rate,
        quality=quality,
        repair=repair,
        pick=pick,
        frames=None,
        threads=min(threads, _MOST_THREADS),
    )
    size = None
    try:
        with closing(stream_bounded(command, limits, partial(checked, path))) as chunks:
            for frame in split_chunks(chunks):
                found = simplejpeg.decode_jpeg_header(frame)[:2]
                size = size or found
                if found != size:
                    raise ValueError("changes its picture size")
                yield frame
    except (ValueError, LimitExceeded) as error:
        raise BadMedia(path, str(error)) from None
