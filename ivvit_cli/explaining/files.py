"""The files of an explanation: pictures, an animation, the arrays behind them."""

import io
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ivvit_cli.errors import EnvironmentFault
from shards.convert.ffmpeg import find_ffmpeg
from shards.files import write_atomically

STRIP, ARRAYS, GIF, MP4 = "strip.png", "maps.npz", "overlay.gif", "overlay.mp4"
RATE = 4  # pictures of an animation per second


def write_strip(folder: Path, strip: Image.Image) -> Path:
    """Write strip.png.

    Raises:
        EnvironmentFault: it cannot be written; so of the others here.
    """
    file = io.BytesIO()
    strip.save(file, format="PNG", optimize=True)
    return _write(folder / STRIP, file.getvalue())


def write_arrays(folder: Path, arrays: Mapping[str, NDArray[Any]]) -> Path:
    """Write maps.npz."""
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)  # type: ignore[arg-type]  # its stubs know no mapping
    return _write(folder / ARRAYS, file.getvalue())


def write_gif(folder: Path, pictures: Sequence[Image.Image]) -> Path:
    """Write overlay.gif, which repeats for ever."""
    file = io.BytesIO()
    first, *rest = [picture.quantize(256) for picture in pictures]
    first.save(file, format="GIF", save_all=True, append_images=rest, duration=1000 // RATE, loop=0)
    return _write(folder / GIF, file.getvalue())


def write_mp4(folder: Path, pictures: Sequence[Image.Image]) -> Path:
    """Write overlay.mp4, H.264."""
    width, height = pictures[0].size
    command = [
        *(find_ffmpeg().path, "-hide_banner", "-loglevel", "error", "-nostdin"),
        *("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", f"{RATE}"),
        *("-i", "pipe:0", "-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", "18"),
        *("-f", "mp4", "-movflags", "frag_keyframe+empty_moov", "pipe:1"),
    ]
    pixels = b"".join(picture.tobytes() for picture in pictures)
    done = subprocess.run([str(word) for word in command], input=pixels, capture_output=True)
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip().splitlines()
        raise EnvironmentFault(f"{folder / MP4}: ffmpeg cannot write it: {reason[-1:]}")
    return _write(folder / MP4, done.stdout)


def _write(path: Path, content: bytes) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)
    except OSError as error:
        raise EnvironmentFault(f"{path}: cannot be written: {error.strerror or error}") from None
    return path
