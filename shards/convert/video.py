"""One video file to JPEG frames: one ffmpeg process, and no pixel ever enters Python."""

import signal
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import simplejpeg

from shards.convert.command import MAX_FRAMES, Repair, ffmpeg_command
from shards.convert.errors import BadMedia
from shards.convert.ffmpeg import find_ffmpeg
from shards.convert.ffmpeglog import ends_early, failure, lacks_filter, needed_repair
from shards.convert.gif import check_whole
from shards.convert.media import sniff_kind
from shards.convert.mjpeg import split_jpegs
from shards.convert.process import Finished, LimitExceeded, Limits, run_bounded
from shards.convert.timing import frame_rate, is_even, parse_times, resample
from shards.errors import EnvironmentFault

SHORT_SIDE = 320
QUALITY = 3
LIMITS = Limits()

_CURVES = {"smpte2084": "PQ", "arib-std-b67": "HLG"}


@dataclass(frozen=True)
class VideoFrames:
    """A decoded video: one JPEG file per frame, all of one size, at even times.

    `resampled` says that the source's presentation times were uneven, or another rate was asked;
    `notes` say what else was done to the frames so that they look right.
    """

    frames: list[bytes]
    fps: float
    width: int
    height: int
    resampled: bool
    notes: tuple[str, ...] = ()


def read_video(
    path: Path,
    *,
    short_side: int | None = SHORT_SIDE,
    fps: float | None = None,
    quality: int = QUALITY,
    segment: tuple[float, float] | None = None,
    limits: Limits = LIMITS,
) -> VideoFrames:
    """Decode every frame of the first video stream once, upright, and encode it as JPEG.

    Args:
        path: the video file.
        short_side: pixels that the shorter side is reduced to; never enlarged. None: as it is.
        fps: constant frames per second to convert to. None: every frame of the source.
        quality: ffmpeg's `-q:v`, 2 (best) to 31.
        segment: (start, end) in seconds; only frames from start and before end are decoded.
        limits: what the ffmpeg process may use.

    Raises:
        InputError: the file is missing, no video, damaged, cut short, or beyond the limits.
        EnvironmentFault: ffmpeg cannot be run, or was killed.
    """
    if not path.is_file():
        raise BadMedia(path, "no such file")
    if not path.stat().st_size:
        raise BadMedia(path, "is empty")

    command = partial(
        ffmpeg_command, path, short_side=short_side, fps=fps, quality=quality, segment=segment
    )
    try:
        check_whole(path)
        done, notes = _decode(path, command, limits)
        video = _assemble(split_jpegs(done.output), parse_times(done.side), fps)
    except UnicodeEncodeError:
        raise BadMedia(path, "has a name that is not UTF-8") from None
    except (ValueError, LimitExceeded) as error:
        raise BadMedia(path, str(error)) from None
    return replace(video, notes=notes)


def _decode(
    path: Path, command: Callable[..., list[str]], limits: Limits
) -> tuple[Finished, tuple[str, ...]]:
    """Run ffmpeg, again where the log of a first run says that the frames need repair.

    That is rare, and costs less than asking each video first. Returns the notes, too.
    """
    done = checked(path, run_bounded(command, limits))
    repair = needed_repair(done.errors)
    if not repair:
        return done, ()
    repaired = run_bounded(partial(command, repair=repair), limits)
    if lacks_filter(repaired):
        return done, _notes(repair, "not ", f": {find_ffmpeg().version} lacks the filter")
    return checked(path, repaired), _notes(repair)


def checked(path: Path, done: Finished) -> Finished:
    """Return what ffmpeg left behind, where it decoded the file to its end.

    Raises:
        InputError: the file is of no known format.
        ValueError: what else is wrong with it.
        EnvironmentFault: ffmpeg was killed, which says nothing of the file.
    """
    if done.code == -signal.SIGKILL:
        raise EnvironmentFault(
            f"{path}: its ffmpeg was killed (signal 9), as happens where memory runs out",
            hint="free some memory, or take fewer workers; the same command goes on from here",
        )
    if done.code:
        sniff_kind(path)  # raises for a file of no known format, in the words of `predict`
        raise ValueError(failure(done))
    if ends_early(done):
        raise ValueError("is cut short or damaged")
    return done


def _notes(repair: Repair, negation: str = "", why: str = "") -> tuple[str, ...]:
    tone = f"{_CURVES[repair.hdr.transfer]}: {negation}tone-mapped" if repair.hdr else ""
    lines = f"{negation}deinterlaced" if repair.interlaced else ""
    return tuple(f"{what}{why}" for what in (tone, lines) if what)


def _assemble(frames: list[bytes], times: list[int], fps: float | None) -> VideoFrames:
    if not frames:
        raise ValueError("holds no frame")
    if len(frames) > MAX_FRAMES:
        raise ValueError(f"has more than {MAX_FRAMES} frames")
    if len(times) < len(frames):
        raise ValueError("a frame has no presentation time")
    times = times[: len(frames)]
    width, height = _common_size(frames)
    if fps is not None:
        return VideoFrames(frames, fps, width, height, resampled=True)
    rate = frame_rate(times)
    if is_even(times):
        return VideoFrames(frames, rate, width, height, resampled=False)
    order = resample(times)
    return VideoFrames([frames[place] for place in order], rate, width, height, resampled=True)


def _common_size(frames: list[bytes]) -> tuple[int, int]:
    sizes = {simplejpeg.decode_jpeg_header(frame)[:2] for frame in frames}
    if len(sizes) > 1:
        raise ValueError("changes its picture size")
    height, width = sizes.pop()
    return width, height
