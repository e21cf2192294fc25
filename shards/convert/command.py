"""The argument list of the one ffmpeg process that turns a video into JPEG frames."""

import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import ffmpeg

from shards.convert.ffmpeg import find_ffmpeg
from shards.convert.timing import SECOND

MAX_FRAMES = 36_000
MAX_PIXELS = 40_000_000

# Demuxers that read one file and nothing else: no playlist, no image sequence, no concatenation.
FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,gif,flv,asf,ogg"

_MARGIN = 1.0  # seconds read on either side of a segment
_SEEKABLE = re.compile(  # MP4 and Matroska; in AVI and MPEG, seeking can give other frames
    rb"....(ftyp|moov|mdat|wide|free|skip|pnot)|\x1a\x45\xdf\xa3", re.DOTALL
)
_WHITE = 203  # cd/m² of a white page in HDR (ITU-R BT.2408), which becomes SDR's brightest tenth
_PEAK = 10  # times that white; what is brighter is clipped
_LINEAR = 0.6  # of SDR's light: darker pixels keep their values, brighter ones are compressed


@dataclass(frozen=True)
class Hdr:
    """The colours of a high dynamic range video, in ffmpeg's words."""

    matrix: str
    primaries: str
    transfer: str  # smpte2084 (PQ) or arib-std-b67 (HLG)


@dataclass(frozen=True)
class Repair:
    """What a video needs beyond decoding, so that its frames look right."""

    hdr: Hdr | None = None
    interlaced: bool = False

    def __bool__(self) -> bool:
        return self.hdr is not None or self.interlaced


def ffmpeg_command(
    path: Path,
    times: int | None,
    *,
    short_side: int | None,
    fps: float | Fraction | None,
    quality: int,
    segment: tuple[float, float] | None = None,
    repair: Repair = Repair(),
    pick: str | None = None,
    frames: int | None = MAX_FRAMES + 1,
    threads: int = 1,
) -> list[str]:
    """Return the argument list; ffmpeg writes frames to stdout, times to descriptor `times`.

    `-xerror` ends ffmpeg at the first packet or frame that is damaged. The encoder's time base is
    fine enough that no two frames fall on the same tick. The log tells what the video is.

    Args:
        pick: ffmpeg's expression for the frames to write, by their number `n` from 0, which counts
            on even where the picture changes its size.
        frames: the most frames to write; None: any number.
        threads: of the decoder.
    """
    options = _around(path, segment)
    if pick is not None:
        options["reinit_filter:v"] = 0
    stream = _decoded(path, threads=threads, **options)
    if repair.interlaced:
        stream = stream.filter("bwdif", mode="send_frame", deint="interlaced")
    stream = _chosen(stream, fps, segment, pick)
    if times is not None:
        stream = _timed(stream, times)
    size = _size(short_side)
    if repair.hdr:
        stream, size = _tone_map(stream, repair.hdr, size), {}
    stream = stream.filter("scale", **size, out_color_matrix="bt601", out_range="full")
    output = _encoded(stream, quality, frames).global_args(
        *("-nostdin", "-nostats", "-hide_banner", "-loglevel", "level+info", "-xerror"),
        *("-filter_complex_threads", "1"),
    )
    return list(output.compile(cmd=find_ffmpeg().path))


def _decoded(path: Path, **options: Any) -> Any:
    """Read a file and nothing that it names."""
    source = ffmpeg.input(
        f"file:{path}",
        **options,
        max_pixels=MAX_PIXELS,
        protocol_whitelist="file",
        format_whitelist=FORMATS,
    )
    return source["V:0"]  # V: not the cover picture of a music file


def _encoded(stream: Any, quality: int, frames: int | None) -> Any:
    """Write each frame, at most so many, as a JPEG of BT.601 and full range to stdout."""
    return stream.filter("setsar", 1).output(
        "pipe:1",
        format="image2pipe",
        fps_mode="passthrough",
        enc_time_base=f"1:{SECOND}",
        pix_fmt="yuv420p",
        color_range="pc",  # with pix_fmt yuvj420p, ffmpeg 7 would not convert the matrix
        threads=1,
        **{"c:v": "mjpeg", "q:v": quality, "huffman": "default"},
        **({} if frames is None else {"frames:v": frames}),
    )


def _chosen(
    stream: Any,
    fps: float | Fraction | None,
    segment: tuple[float, float] | None,
    pick: str | None,
) -> Any:
    """Cut a segment, change the rate, and pick frames, which are numbered at the new rate."""
    if segment is not None:
        first, end = (round(moment * SECOND) for moment in segment)
        stream = stream.filter("settb", f"1/{SECOND}")
        stream = stream.filter("trim", start_pts=first, end_pts=end)  # from first, before end
    if pick is not None:
        stream = stream.filter("setpts", "PTS-STARTPTS")
    if fps is not None:
        stream = stream.filter("fps", fps)
    return stream if pick is None else stream.filter("select", pick)


def _timed(stream: Any, times: int) -> Any:
    """Write each frame's time to descriptor `times`."""
    return (
        stream.filter("settb", f"1/{SECOND}")
        .filter("metadata", mode="add", key="ivvit", value="0")  # print passes over bare frames
        .filter("metadata", mode="print", file=f"pipe:{times}")
    )


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
    """Return expressions, because the size after rotation is known only inside of ffmpeg.

    Pixels that are not square are made so by shrinking their longer side; a ratio within 2 % of
    one is a rounding, one beyond 4 is nonsense.
    """
    width = "(iw*if(between(sar,0.25,0.98),sar,1))"
    height = "(ih/if(between(sar,1.02,4),sar,1))"
    if short_side is None:
        return {"w": f"max(1,round{width})", "h": f"max(1,round{height})"}
    larger, wide = f"gt(min({width},{height}),{short_side})", f"gt({width},{height})"
    across = f"2*round({short_side}*{width}/{height}/2)"
    down = f"2*round({short_side}*{height}/{width}/2)"
    return {
        "w": f"if({larger},if({wide},{across},{short_side}),max(1,round{width}))",
        "h": f"if({larger},if({wide},{short_side},{down}),max(1,round{height}))",
    }


def _tone_map(stream: Any, hdr: Hdr, size: dict[str, str]) -> Any:
    """Reduce to the final size, then map light and primaries to those of BT.709."""
    matrix = {} if _is_known(hdr.matrix) else {"in_color_matrix": "bt2020"}
    primaries = {} if _is_known(hdr.primaries) else {"pin": "bt2020"}
    stream = (
        stream.filter("scale", **size, **matrix)
        .filter("format", "gbrp16le")
        .filter("zscale", tin=hdr.transfer, **primaries, p="bt2020", t="linear", npl=_WHITE)
        .filter("format", "gbrpf32le")
    )
    stream = _with_bt709(stream, hlg=hdr.transfer == "arib-std-b67")
    return (
        stream.filter("tonemap", "mobius", param=_LINEAR, desat=0, peak=_PEAK)
        .filter("zscale", t="bt709")
        .filter("format", "gbrp")
    )


def _with_bt709(stream: Any, *, hlg: bool) -> Any:
    """Change primaries, from BT.2020 to BT.709.

    zscale has raised HLG's light to 1.2 channel by channel, after which saturated colours would
    fall out of BT.709. So it is taken back (2.4 / 2.8 = 1 / 1.167) until the primaries are changed.
    """
    if hlg:
        stream = _light_as(_signal(stream, "bt470bg"), "bt709")  # gamma 2.8 as if it were 2.4
    stream = stream.filter("zscale", p="bt709")
    if hlg:
        stream = _light_as(_signal(stream, "bt709"), "bt470bg")
    return stream


def _signal(stream: Any, curve: str) -> Any:
    return stream.filter("zscale", t=curve, agamma=0)  # the approximation ends at 1.5


def _light_as(stream: Any, curve: str) -> Any:
    return stream.filter("setparams", color_trc=curve).filter("zscale", t="linear", agamma=0)


def _is_known(name: str) -> bool:
    return name not in ("unknown", "reserved")
