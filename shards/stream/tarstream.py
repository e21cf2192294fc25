"""Streaming tars without an index: someone else's WebDataset shards, or ours, from end to end.

Only these members mean anything: `jpg`, `jpeg`, `png`, `ppm` (an image), `mjpg` or `000000.jpg …`
(a video's frames), `cls` (the label) and `json`. Nothing is unpickled and no URL is opened: a tar
with pickled members is refused, the other members of a sample are not read. A tar is walked by
`shards.tarwalk`, so that damage is never taken for its end.
"""

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from webdataset.tariterators import group_by_keys

from shards.errors import InputError
from shards.headers import frame_size
from shards.stream.reader import Sample
from shards.tarwalk import Member, TarDamage, walk

_CODECS = {"jpg": "jpg", "jpeg": "jpg", "png": "png", "ppm": "ppm"}
_PICKLED = {"pyd", "pickle", "pkl", "pth", "pt"}
_NUMBERED = re.compile(r"[0-9]{6}\.jpg")
_TEXTS = {"cls", "json"}
_MAX_TEXT = 1 << 24  # bytes: the offsets of a million frames
_MAX_SAMPLE = 1 << 30  # bytes
_PLAIN = "plain tars are written by webdataset's TarWriter, or by `tar --format=ustar` from files"


def stream_samples(source: str | Path | Iterable[str | Path]) -> Iterator[Sample]:
    """Yield the samples of a folder's tars, or of the given ones, in order of names and members.

    Raises:
        InputError: a tar is missing, cut, damaged, compressed, a `pipe:` or other URL, or holds
            pickles or anything but plain files; a sample has no label or no frame, or more than
            1 GiB. The message names the tar, and the byte or the sample.
    """
    for path in _tars(source):
        try:
            yield from _read_tar(path)
        except InputError as error:
            raise InputError(f"{path}: {error.message}", hint=error.hint) from None
        except ValueError as error:  # webdataset's; it appends its own context to the arguments
            raise InputError(f"{path}: {error.args[0]}") from None


def _tars(source: str | Path | Iterable[str | Path]) -> list[Path]:
    if not isinstance(source, str | Path):
        return [_local(path) for path in source]
    path = _local(source)
    if not path.is_dir():
        return [path]
    tars = sorted(path.glob("*.tar"))
    if not tars:
        raise InputError(f"{path}: holds no tar")
    return tars


def _local(path: str | Path) -> Path:
    if re.match(r"[a-z][a-z0-9+.-]*:", str(path)) and not Path(path).exists():
        raise InputError(f"{path}: URLs are not opened", hint="give a local tar or folder")
    return Path(path)


def _read_tar(path: Path) -> Iterator[Sample]:
    if not path.is_file():
        raise InputError("no such file")
    with path.open("rb") as file:
        for sample in group_by_keys(_members(file.fileno())):
            members = {name: each for name, each in sample.items() if isinstance(each, Member)}
            yield _read_sample(file.fileno(), sample["__key__"], members)


def _members(descriptor: int) -> Iterator[dict[str, Any]]:
    """Yield the members as webdataset groups them, but for their content."""
    try:
        for member in walk(descriptor):
            yield {"fname": member.name, "data": member, "__url__": ""}
    except TarDamage as error:
        raise InputError(str(error), hint=_PLAIN if error.kind == "header" else None) from None


def _read_sample(descriptor: int, key: str, members: Mapping[str, Member]) -> Sample:
    try:
        return _sample(key, _contents(descriptor, members))
    except Exception as error:  # whatever a hostile member provokes
        raise InputError(f"sample {key}: {error}") from None


def _contents(descriptor: int, members: Mapping[str, Member]) -> dict[str, bytes]:
    """Read the members that mean something."""
    pickled = [name for name in members if name.rpartition(".")[2] in _PICKLED]
    if pickled:
        raise InputError(f"member .{pickled[0]} is a pickle, which can run code: refused")
    known = {name: member for name, member in members.items() if _is_known(name)}
    texts = [known[name].size for name in _TEXTS & known.keys()]
    if max(texts, default=0) > _MAX_TEXT or sum(m.size for m in known.values()) > _MAX_SAMPLE:
        raise InputError(f"is larger than {_MAX_SAMPLE} bytes, or its text than {_MAX_TEXT}")
    return {name: os.pread(descriptor, m.size, m.offset) for name, m in known.items()}


def _is_known(name: str) -> bool:
    return name in _CODECS or name in _TEXTS or name == "mjpg" or bool(_NUMBERED.fullmatch(name))


def _sample(key: str, members: Mapping[str, bytes]) -> Sample:
    about = json.loads(members.get("json", b"{}"))
    if not isinstance(about, dict):
        raise InputError(".json holds no mapping")
    label = _label(members, about)
    codec, frames, is_video = _frames(members, about)
    first = frames[0]
    try:
        width, height = frame_size(lambda start, n: first[start : start + n], len(first), codec)
    except ValueError as error:
        raise InputError(f"not a readable {codec} frame: {error}") from None
    return Sample(
        key=key,
        label=label,
        class_name=str(about.get("class", label)),
        fps=float(np.float32(about.get("fps", 0))) if is_video else 0.0,  # as the index rounds it
        codec=codec,
        frames=frames,
        width=width,
        height=height,
    )


def _label(members: Mapping[str, bytes], about: Mapping[str, Any]) -> int:
    if "cls" in members:
        return int(members["cls"])
    if "label" in about:
        return int(about["label"])
    raise InputError("has no label, neither .cls nor in .json")


def _frames(
    members: Mapping[str, bytes], about: Mapping[str, Any]
) -> tuple[str, list[bytes], bool]:
    """Return the codec, the encoded frames, and whether they are a video's."""
    numbered = sorted(name for name in members if _NUMBERED.fullmatch(name))
    if numbered:
        return "jpg", [members[name] for name in numbered], True
    if "mjpg" in members:
        edges = sorted({0, *about["offsets"], len(members["mjpg"])})
        if len(edges) < 2 or edges[0] < 0 or edges[-1] > len(members["mjpg"]):
            raise InputError("the offsets in .json do not fit .mjpg")
        return "jpg", [members["mjpg"][a:b] for a, b in pairwise(edges)], True
    images = [name for name in members if name in _CODECS]
    if len(images) != 1:
        raise InputError(f"has {len(images)} images instead of one")
    return _CODECS[images[0]], [members[images[0]]], False
