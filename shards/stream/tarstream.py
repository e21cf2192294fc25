"""Streaming tars without an index: someone else's WebDataset shards, or ours, from end to end.

Only these members mean anything: `jpg`, `jpeg`, `png`, `ppm` (an image), `mjpg` or `000000.jpg …`
(a video's frames), `cls` (the label) and `json`. Nothing is unpickled and no URL is opened: a tar
with pickled members is refused, the other members of a sample are left alone.
"""

import json
import re
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from webdataset.tariterators import group_by_keys, tar_file_expander

from shards.errors import InputError
from shards.stream.decode import frame_size
from shards.stream.reader import Sample

_CODECS = {"jpg": "jpg", "jpeg": "jpg", "png": "png", "ppm": "ppm"}
_PICKLED = {"pyd", "pickle", "pkl", "pth", "pt"}
_NUMBERED = re.compile(r"[0-9]{6}\.jpg")
_END = 1024  # bytes of zeros that end a tar


def stream_samples(source: str | Path | Iterable[str | Path]) -> Iterator[Sample]:
    """Yield the samples of a folder's tars, or of the given ones, in order of names and members.

    Raises:
        InputError: a tar is missing, cut, damaged, a `pipe:` or other URL, or holds pickles; a
            sample has no label or no frame. The message names the tar and the sample.
    """
    for path in _tars(source):
        try:
            yield from _read_tar(path)
        except InputError as error:
            raise InputError(f"{path}: {error.message}") from None
        except (OSError, ValueError, tarfile.TarError) as error:
            reason = error.args[0] if error.args else error  # webdataset appends its own context
            raise InputError(f"{path}: cannot be read as a tar of samples: {reason}") from None


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
    with path.open("rb") as file:
        members = tar_file_expander([{"url": str(path), "stream": file}])
        for sample in group_by_keys(members):
            key = sample["__key__"]
            try:
                yield _sample(key, {k: v for k, v in sample.items() if not k.startswith("__")})
            except (InputError, ValueError, TypeError, KeyError) as error:
                raise InputError(f"sample {key}: {error}") from None
        file.seek(0, 2)
        file.seek(max(file.tell() - _END, 0))
        if file.read().strip(b"\0"):
            raise InputError("was cut: the end of the archive is missing")


def _sample(key: str, members: Mapping[str, bytes]) -> Sample:
    pickled = [name for name in members if name.rpartition(".")[2] in _PICKLED]
    if pickled:
        raise InputError(f"member .{pickled[0]} is a pickle, which can run code: refused")
    about = json.loads(members.get("json", b"{}"))
    if not isinstance(about, dict):
        raise InputError(".json holds no mapping")
    label = _label(members, about)
    codec, frames, is_video = _frames(members, about)
    width, height = frame_size(frames[0], codec)
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
        edges = sorted({*about["offsets"], len(members["mjpg"])})
        return "jpg", [members["mjpg"][a:b] for a, b in pairwise(edges)], True
    images = [name for name in members if name in _CODECS]
    if len(images) != 1:
        raise InputError(f"has {len(images)} images instead of one")
    return _CODECS[images[0]], [members[images[0]]], False
