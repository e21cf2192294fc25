"""One video file to JPEG frames: one ffmpeg process, and no pixel ever enters Python."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ffmpeg
import simplejpeg

from shards.convert.errors import BadMedia
from shards.convert.ffmpeg import find_ffmpeg
from shards.convert.media import sniff_kind
from shards.convert.mjpeg import split_jpegs
from shards.convert.process import Finished, LimitExceeded, Limits, run_bounded
from shards.convert.timing import SECOND, frame_rate, is_even, parse_times, resample

SHORT_SIDE = 320
QUALITY = 3
MAX_FRAMES = 36_000
MAX_PIXELS = 40_000_000
LIMITS = Limits()

_MARGIN = 1.0  # seconds read on either side of a segment
_SEEKABLE = re.compile(  # MP4 and Matroska; in AVI and MPEG, seeking can give other frames
    rb"....(ftyp|moov|mdat|wide|free|skip|pnot)|\x1a\x45\xdf\xa3", re.DOTALL
)

# Demuxers that read one file and nothing else: no playlist, no image sequence, no concatenation.
FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,gif,flv,asf,ogg"


@dataclass(frozen=True)
class VideoFrames:
    """A decoded video: one JPEG file per frame, all of one size, at even times.

    `resampled` says that the source's presentation times were uneven, or another rate was asked.
    """

    frames: list[bytes]
    fps: float
    width: int
    height: int
    resampled: bool


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
        EnvironmentFault: ffmpeg cannot be run.
    """
    if not path.is_file():
        raise BadMedia(path, "no such file")
    if not path.stat().st_size:
        raise BadMedia(path, "is empty")

    def command(times: int) -> list[str]:
        return ffmpeg_command(
            path, times, short_side=short_side, fps=fps, quality=quality, segment=segment
        )

    try:
        done = run_bounded(command, limits)
        if done.code:
            sniff_kind(path)  # raises for a file of no known format, in the words of `predict`
            raise ValueError(_reason(done))
        return _assemble(split_jpegs(done.output), parse_times(done.side), fps)
    except (ValueError, LimitExceeded) as error:
        raise BadMedia(path, str(error)) from None


def ffmpeg_command(
    path: Path,
    times: int,
    *,
    short_side: int | None,
    fps: float | None,
    quality: int,
    segment: tuple[float, float] | None = None,
) -> list[str]:
    """Return the argument list; ffmpeg writes frames to stdout, times to descriptor `times`.

    `-xerror` ends ffmpeg at the first packet or frame that is damaged. The encoder's time base is
    fine enough that no two frames fall on the same tick.
    """
    source = ffmpeg.input(
        f"file:{path}",
        **_around(path, segment),
        threads=1,
        max_pixels=MAX_PIXELS,
        protocol_whitelist="file,pipe",
        format_whitelist=FORMATS,
    )
    stream = source["V:0"]  # V: not the cover picture of a music file
    if segment is not None:
        first, end = (round(moment * SECOND) for moment in segment)
        stream = stream.filter("settb", f"1/{SECOND}")
        stream = stream.filter("trim", start_pts=first, end_pts=end)  # from first, before end
    if fps is not None:
        stream = stream.filter("fps", fps)
    stream = (
        stream.filter("settb", f"1/{SECOND}")
        .filter("metadata", mode="add", key="ivvit", value="0")  # print passes over bare frames
        .filter("metadata", mode="print", file=f"pipe:{times}")
        .filter("scale", **_size(short_side), out_color_matrix="bt601", out_range="full")
    )
    output = stream.output(
        "pipe:1",
        format="image2pipe",
        fps_mode="passthrough",
        enc_time_base=f"1:{SECOND}",
        pix_fmt="yuv420p",
        color_range="pc",  # with pix_fmt yuvj420p, ffmpeg 7 would not convert the matrix
        threads=1,
        **{"c:v": "mjpeg", "q:v": quality, "huffman": "default", "frames:v": MAX_FRAMES + 1},
    ).global_args(
        *("-nostdin", "-hide_banner", "-loglevel", "level+error", "-xerror"),
        *("-filter_complex_threads", "1"),
    )
    return list(output.compile(cmd=find_ffmpeg().path))


def _around(path: Path, segment: tuple[float, float] | None) -> dict[str, Any]:
    """Return input options that read little more than a segment, at the times of the whole.

    ffmpeg's own cut is off by a frame at either end, so it is made wider and the frames selected.
    """
    if segment is None:
        return {}
    start, end = segment
    begin = max(0.0, start - _MARGIN) if _can_seek(path) else 0.0
    seek = {"ss": begin} if begin else {}
    return {**seek, "t": end - begin + _MARGIN, "copyts": None, "start_at_zero": None}


def _can_seek(path: Path) -> bool:
    with path.open("rb") as file:
        return bool(_SEEKABLE.match(file.read(8)))


def _size(short_side: int | None) -> dict[str, str]:
    # Expressions, because the size after rotation is known only inside of ffmpeg.
    if short_side is None:
        return {"w": "iw", "h": "ih"}
    larger = f"gt(min(iw,ih),{short_side})"
    return {
        "w": f"if({larger},if(gt(iw,ih),-2,{short_side}),iw)",
        "h": f"if({larger},if(gt(iw,ih),{short_side},-2),ih)",
    }


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


# ffmpeg's threads race to report the same fault, so what is kept of its log is in fixed words.
_REASONS = (
    (r"Format not on whitelist", "is not a video of an allowed format"),
    (r"matches no streams|does not contain any stream", "holds no video stream"),
    (r"moov atom not found", "is cut short or damaged: its moov atom is missing"),
    (r"Picture size .* exceeds|exceeds max_pixels", f"has more than {MAX_PIXELS} pixels a frame"),
    (r"Cannot allocate memory|Out of memory", "needs more memory than is allowed"),
    (
        r"Error opening input|\] file:.*: Invalid data found",
        "is not a video, or its start is damaged",
    ),
    (r"(?s)\A(?!.*Invalid data).*received no packets", "holds no frame"),  # in the segment
)


def _reason(done: Finished) -> str:
    for pattern, reason in _REASONS:
        if re.search(pattern, done.errors):
            return reason
    if done.code < 0:
        return f"ended ffmpeg with signal {-done.code}"
    return "is cut short or damaged"
