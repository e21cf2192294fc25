"""A video as a folder of numbered JPEG files, which are copied and not decoded to anew."""

import re
from pathlib import Path

from shards.convert.errors import BadMedia
from shards.convert.image import encode_image
from shards.convert.items import Extracted
from shards.convert.process import Limits
from shards.convert.sources.scan import files
from shards.convert.video import LIMITS, MAX_FRAMES, VideoFrames

_FRAME = re.compile(r"(?:img|image|frame)?[-_]?(\d+)\.jpe?g", re.IGNORECASE)  # not flow_x_00001.jpg


def count_frames(folder: Path) -> int:
    """Return how many frames a folder holds; 0 if it is not there."""
    return len(_numbered(folder)) if folder.is_dir() else 0


def read_stills(
    folder: Path, frames: Extracted, *, short_side: int | None = None, limits: Limits = LIMITS
) -> VideoFrames:
    """Return the frames by their numbers, as they are, or made smaller to `short_side` pixels.

    Raises:
        InputError: frames are missing, damaged, no upright RGB or grey JPEG, or of several sizes.
    """
    encoded: list[bytes] = []
    sizes = set()
    room = limits.output
    for path in _chosen(folder, frames):
        try:
            image = encode_image(path.read_bytes(), short_side=short_side)
        except (OSError, ValueError) as error:
            raise BadMedia(folder, f"{path.name}: {error}") from None
        if image.codec != "jpg":
            raise BadMedia(folder, f"{path.name}: is no upright RGB or grey JPEG")
        encoded.append(image.data)
        sizes.add((image.width, image.height))
        room -= len(image.data)
        if room < 0:
            raise BadMedia(folder, f"has more than {limits.output >> 20} MiB of frames")
    if len(sizes) > 1:
        raise BadMedia(folder, "changes its picture size")
    width, height = sizes.pop()
    return VideoFrames(encoded, frames.fps, width, height, resampled=False)


def _chosen(folder: Path, frames: Extracted) -> list[Path]:
    if not 0 < frames.count <= MAX_FRAMES:
        raise BadMedia(folder, f"has {frames.count} frames, not 1 to {MAX_FRAMES}")
    found = _numbered(folder)
    chosen = sorted(found)[frames.first : frames.first + frames.count]
    if len(chosen) < frames.count:
        raise BadMedia(folder, f"has {len(chosen)} of {frames.count} listed frames")
    if chosen[-1] - chosen[0] != frames.count - 1:
        raise BadMedia(folder, "lacks a frame between others")
    return [found[number] for number in chosen]


def _numbered(folder: Path) -> dict[int, Path]:
    names = [(path, _FRAME.fullmatch(path.name)) for path in files(folder)]
    return {int(name[1]): path for path, name in names if name and path.is_file()}
