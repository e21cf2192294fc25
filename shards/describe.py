"""One sample of a tar of others, described: its label, and the place and size of its frames."""

import io
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import simplejpeg
from PIL import Image

from shards.headers import Read, check_scans, frame_size
from shards.labels import Label, read_json, read_label
from shards.manifest import Kind
from shards.members import MJPG, Group, Media, NoFrames, SampleFault, ending, find_media, sample_key
from shards.tarwalk import Member

_MAX_SAMPLE = 1 << 30  # bytes of frames
_MAX_FPS = 1_000_000
_ENDS = {"jpg": b"\xff\xd9", "png": b"IEND\xaeB\x60\x82"}


class Description(NamedTuple):
    """A sample in the terms of the index; `frames` are (first byte in the tar, bytes).

    `fps` is 0 for an image, and for a video that does not tell it.
    """

    key: str
    label: Label
    kind: Kind
    codec: str
    frames: list[tuple[int, int]]
    width: int
    height: int
    fps: float


def describe(
    group: Group, read: Read, *, kind: Kind | None = None, fps: float | None = None
) -> Description:
    """Return what a sample holds, read from its texts and the headers of its frames.

    Args:
        group: the sample's members.
        read: gives bytes of the tar.
        kind: which of its members count, if it has an image and a video.
        fps: frames per second of a video that does not tell.

    Raises:
        SampleFault: it has no label or no frame, is damaged as far as headers tell, or has more
            than 1 GiB.
    """
    if group.fault:
        raise group.fault
    media = find_media(group, kind)
    about = read_json(group, read)
    label = read_label(group, read, about)
    if not media.codec:
        raise NoFrames(ending(media.extensions[0]))
    frames = _places(group, media, about)
    sizes = {_frame_size(read, frame, media.codec) for frame in _looked_at(media, frames)}
    if len(sizes) > 1:
        raise SampleFault("bad_media", "changes its picture size")
    rate = _fps(about, fps) if media.kind == "video" else 0.0
    key = sample_key(group.key)
    return Description(key, label, media.kind, media.codec, frames, *sizes.pop(), rate)


def within(read: Read, start: int, size: int) -> Read:
    """Return a reader of one frame of what `read` reads."""
    return lambda offset, count: read(start + offset, max(0, min(count, size - offset)))


def _places(group: Group, media: Media, about: dict[str, Any]) -> list[tuple[int, int]]:
    members = [group.members[name] for name in media.extensions]
    if sum(member.size for member in members) > _MAX_SAMPLE:
        raise SampleFault("bad_media", f"is larger than {_MAX_SAMPLE} bytes")
    if media.extensions != (MJPG,):
        return [(member.offset, member.size) for member in members]
    return _cut(members[0], about.get("offsets"))


def _cut(member: Member, offsets: object) -> list[tuple[int, int]]:
    """Return the places of the frames that lie one after another in a member."""
    if not isinstance(offsets, list) or not all(type(offset) is int for offset in offsets):
        raise SampleFault("bad_media", "its .json has no offsets of the frames in .mjpg")
    frames = [(member.offset + start, end - start) for start, end in pairwise(offsets)]
    fits = bool(frames) and (offsets[0], offsets[-1]) == (0, member.size)
    if not fits or min(size for _, size in frames) < 1:
        raise SampleFault("bad_media", "the offsets in .json do not fit .mjpg")
    return frames


def _looked_at(media: Media, frames: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the frames whose headers are read: of our own .mjpg the first and the last tell."""
    return [frames[0], frames[-1]] if media.extensions == (MJPG,) else frames


def _frame_size(read: Read, frame: tuple[int, int], codec: str) -> tuple[int, int]:
    own = within(read, *frame)
    try:
        size = frame_size(own, frame[1], codec)
        if not _has_end(own, frame[1], codec):
            _decode(own(0, frame[1]), codec, size)
    except ValueError as error:
        raise SampleFault("bad_media", f"not a readable {codec}: {error}") from None
    return size


def _has_end(read: Read, size: int, codec: str) -> bool:
    """Return whether a picture ends in its mark; if not, it is cut, or has something behind it."""
    mark = _ENDS.get(codec, b"")
    return read(size - len(mark), len(mark)) == mark


def _decode(data: bytes, codec: str, size: tuple[int, int]) -> None:
    if codec == "jpg":
        check_scans(data, *size)
        simplejpeg.decode_jpeg(data, colorspace="RGB", strict=True)
        return
    try:
        Image.open(io.BytesIO(data), formats=["PNG"]).load()
    except Exception as error:  # Pillow raises nearly anything on hostile data
        raise ValueError(f"cannot be decoded: {error}") from None


def _fps(about: dict[str, Any], default: float | None) -> float:
    fps = about.get("fps")
    if fps is None:
        fps = default or 0
    elif isinstance(fps, bool) or not isinstance(fps, int | float) or not 0 < fps <= _MAX_FPS:
        raise SampleFault("bad_media", f"its .json has an fps of {str(fps)[:20]}")
    return float(np.float32(fps))  # as the index has it
