"""Small media files for tests, written by real encoders."""

import subprocess
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from shards.convert.ffmpeg import find_ffmpeg

Pixels = NDArray[np.uint8]


def write_video(
    path: Path, frames: Pixels, fps: float = 25, args: tuple[str, ...] = ("-c:v", "mpeg4")
) -> Path:
    """Encode frames (T, H, W, 3) with ffmpeg; `args` are its output options."""
    height, width = frames.shape[1:3]
    path.parent.mkdir(parents=True, exist_ok=True)
    source = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", f"{fps}")
    run_ffmpeg(*source, "-i", "pipe:0", *args, str(path), stdin=frames.tobytes())
    return path


def write_image(path: Path, pixels: Pixels, **options: object) -> Path:
    """Save pixels, (H, W, 3) or (H, W), in the format of the path's ending."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def make_frames(count: int = 12, height: int = 48, width: int = 64, seed: int = 0) -> Pixels:
    """Return smooth moving pictures, (T, H, W, 3), no two frames alike."""
    generator = np.random.default_rng(seed)
    phase = generator.uniform(0, 2 * np.pi, 3)
    t, y, x, c = np.ogrid[0:count, 0:height, 0:width, 0:3]
    waves = np.sin(x / 9 + t / 3 + phase[c]) + np.cos(y / 7 - t / 5 + phase[c])
    return (127.5 + 60 * waves).astype(np.uint8)


def run_ffmpeg(*args: str, stdin: bytes | None = None) -> bytes:
    """Run the project's ffmpeg and return its stdout."""
    command = [find_ffmpeg().path, "-y", "-loglevel", "error", *args]
    return subprocess.run(command, input=stdin, stdout=subprocess.PIPE, check=True).stdout
