"""What the members of one sample hold: labels that agree, pictures that decode."""

import hashlib
import json
import os
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shards.convert.grouping import Group
from shards.convert.image import decoded_size
from shards.index import CODECS, FRAME
from shards.manifest import Kind


@dataclass(frozen=True)
class Content:
    """A sample as its shard holds it, in the terms of the index.

    `places` is what `places_of` returns: all frames of a dataset do not fit into memory. `kind`
    and `class_name` are not in the index, and do not count when samples are compared.
    """

    key: str
    label: int
    codec: str
    width: int
    height: int
    fps: float
    places: bytes
    kind: Kind | None = field(default=None, compare=False)
    class_name: str = field(default="", compare=False)


def read_content(descriptor: int, group: Group) -> Content:
    """Read a complete sample and decode every picture of it.

    Raises:
        ValueError: the label members disagree, or a picture is damaged.
    """
    label, document = _labels(descriptor, group)
    frames = _frames(group, document)
    codec = group.media[0] if group.media[0] in CODECS else "jpg"
    sizes = {_decode(descriptor, group.key, codec, *frame) for frame in frames}
    width, height = (_field(group, document, name, int) for name in ("width", "height"))
    if sizes != {(width, height)}:
        raise ValueError(f"{group.key}: pictures of {sorted(sizes)}, not {width} x {height}")
    fps = _field(group, document, "fps", float) if "fps" in document else 0.0
    fps = float(np.float32(fps))  # as the index has it
    kind: Kind = "image" if group.media[0] in CODECS else "video"
    class_name = str(document.get("class"))
    places = places_of(np.array(list(frames), FRAME))
    return Content(group.key, label, codec, width, height, fps, places, kind, class_name)


def places_of(frames: NDArray[np.void]) -> bytes:
    """Return the sha256 of where a sample's frames lie, (F,) of FRAME."""
    return hashlib.sha256(frames.tobytes()).digest()


def _labels(descriptor: int, group: Group) -> tuple[int, dict[str, Any]]:
    try:
        label = int(_member(descriptor, group, "cls"))
        document = json.loads(_member(descriptor, group, "json"))
    except (ValueError, RecursionError):  # nested without end
        raise ValueError(f"{group.key}: its .cls or .json cannot be read") from None
    if not isinstance(document, dict) or document.get("label") != label:
        raise ValueError(f"{group.key}: .cls says {label}, .json says otherwise")
    return label, document


def _member(descriptor: int, group: Group, extension: str) -> bytes:
    member = group.members[extension]
    return os.pread(descriptor, member.size, member.offset)


def _frames(group: Group, document: dict[str, Any]) -> tuple[tuple[int, int], ...]:
    if group.media == ["mjpg"]:
        member = group.members["mjpg"]
        offsets = document.get("offsets")
        if not isinstance(offsets, list) or not all(isinstance(n, int) for n in offsets):
            raise ValueError(f"{group.key}: .json has no frame offsets")
        sizes = [after - before for before, after in pairwise(offsets)]
        if not sizes or min(sizes) < 1 or (offsets[0], offsets[-1]) != (0, member.size):
            raise ValueError(f"{group.key}: the frame offsets in .json do not fit .mjpg")
        frames = tuple((member.offset + n, size) for n, size in zip(offsets, sizes, strict=False))
    else:
        members = [group.members[name] for name in group.media]
        frames = tuple((member.offset, member.size) for member in members)
    if document.get("frames", 1) != len(frames):
        raise ValueError(f"{group.key}: has {len(frames)} frames, .json says otherwise")
    return frames


def _decode(descriptor: int, key: str, codec: str, offset: int, size: int) -> tuple[int, int]:
    try:
        return decoded_size(os.pread(descriptor, size, offset), codec)
    except ValueError as error:
        raise ValueError(f"{key}: the picture at byte {offset}: {error}") from None


def _field(group: Group, document: dict[str, Any], name: str, kind: type[int] | type[float]) -> Any:
    value = document.get(name)
    if isinstance(value, bool) or not isinstance(value, int | kind):
        raise ValueError(f"{group.key}: .json has no {name}")
    try:
        return kind(value)
    except OverflowError:
        raise ValueError(f"{group.key}: .json has a {name} without end") from None
