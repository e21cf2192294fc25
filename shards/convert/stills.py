"""A video as a folder of numbered JPEG files, which are copied and not decoded to anew."""

import hashlib
import re
from pathlib import Path

from shards.convert.command import MAX_FRAMES
from shards.convert.errors import BadMedia
from shards.convert.image import encode_image, read_file
from shards.convert.items import Extracted
from shards.convert.process import Limits
from shards.convert.sources.scan import files
from shards.convert.video import LIMITS, VideoFrames
from shards.errors import InputError

_FRAME = re.compile(r"(?:img|image|frame)?[-_]?(\d+)\.jpe?g", re.IGNORECASE)  # not flow_x_00001.jpg


def count_frames(folder: Path) -> int:
    """Return how many frames a folder holds; 0 if it is not there."""
    return len(_numbered(folder)) if folder.is_dir() else 0


def read_stills(
    folder: Path, frames: Extracted, *, short_side: int | None = None, limits: Limits = LIMITS
) -> tuple[VideoFrames, str]:
    """Return the frames by their numbers, and the sha256 of their files one after another.

    They stay as they are, but for larger ones where `short_side` is given (`encode_image`).

    Raises:
        InputError: frames are missing, damaged, no upright RGB or grey JPEG, or of several sizes.
    """
    encoded: list[bytes] = []
    digest = hashlib.sha256()
    sizes = set()
    room = limits.output
    for path in _chosen(folder, frames):
        try:
            data = read_file(path)
            image = encode_image(data, short_side=short_side)
        except BadMedia as error:
            raise BadMedia(folder, f"{path.name}: {error.reason}") from None
        except ValueError as error:
            raise BadMedia(folder, f"{path.name}: {error}") from None
        digest.update(data)
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
    video = VideoFrames(encoded, frames.fps, width, height, resampled=False)
    return video, digest.hexdigest()


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
    try:
        paths = files(folder)
    except InputError:  # it cannot be listed: it has no frame to give
        return {}
    names = [(path, _FRAME.fullmatch(path.name)) for path in paths]
    return {int(name[1]): path for path, name in names if name}
