"""Writing pictures and videos as ordinary files: PNG, JPEG, and MP4 through ffmpeg."""

import functools
import subprocess
from pathlib import Path
from typing import Any

import ffmpeg
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ivvit_cli.errors import EnvironmentFault
from shards.convert.ffmpeg import find_ffmpeg

Pixels = NDArray[np.uint8]

# A constant quantiser makes a coded frame depend on that frame alone, whatever comes before it.
H264 = {"vcodec": "libx264", "qp": 10, "preset": "veryfast"}
MPEG4 = {"vcodec": "mpeg4", "qscale:v": 2}


def write_image(path: Path, pixels: Pixels) -> None:
    """Write (H, W, 3) pixels in the format that the suffix names, JPEG in high quality."""
    Image.fromarray(pixels).save(path, quality=95)


def write_video(path: Path, frames: Pixels, *, fps: int) -> None:
    """Write (T, H, W, 3) frames of even height and width as MP4 in which every frame stands alone.

    Raises:
        EnvironmentFault: ffmpeg could not write it.
    """
    _, height, width, _ = frames.shape
    source = ffmpeg.input(
        "pipe:", format="rawvideo", pix_fmt="rgb24", s=f"{width}x{height}", framerate=fps
    )
    options: dict[str, Any] = {"g": 1, "pix_fmt": "yuv420p", "threads": 1, **_codec()}
    output = source.output(f"file:{path}", format="mp4", fflags="+bitexact", **options)
    command = output.overwrite_output().compile(cmd=find_ffmpeg().path)
    done = subprocess.run(command, input=frames.tobytes(), capture_output=True)
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise EnvironmentFault(f"{path}: ffmpeg could not write it: {' '.join(reason)}")


@functools.cache
def _codec() -> dict[str, Any]:
    """Return the options for H.264, or for MPEG-4 where this ffmpeg has no libx264."""
    listed = subprocess.run(
        [find_ffmpeg().path, "-hide_banner", "-encoders"], capture_output=True, text=True
    )
    return H264 if " libx264 " in listed.stdout else MPEG4
