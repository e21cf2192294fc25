"""What the members of a tar of others mean: which make a sample, its frames, its label.

Both wings read foreign WebDataset tars by this module, so that an index and a walk from end to end
give the same samples. Members are named `KEY.EXTENSION`, KEY ends at the first dot of the file's
name, and the members of a sample follow one another. A sample has

    one of        KEY.jpg, .jpeg, .png, .ppm      an image; also KEY.input.jpg and the like
                  KEY.000000.jpg, KEY.frame_0001.png …    a video's frames, by their numbers
                  KEY.mjpg                        all frames, at the `offsets` in KEY.json
    one of        KEY.cls, KEY.json with `label` or `class`, KEY.txt        the label

Nothing is unpickled, no name is used as a path, and members of no such extension are not read.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

from shards.index import KEY_BYTES
from shards.manifest import Kind
from shards.tarwalk import FILE, FOLDER, Member

IMAGES = {"jpg": "jpg", "jpeg": "jpg", "png": "png", "ppm": "ppm"}  # extension -> codec
VIDEO_FILES = ("mp4", "webm", "avi", "mkv", "mov", "m4v", "mpg", "mpeg", "flv", "wmv")
IMAGE_FILES = ("webp", "tif", "tiff", "bmp", "gif", "pgm")
MJPG = "mjpg"

_PICKLED = ("pyd", "pickle", "pkl", "pth", "pt")
_PREFERRED = ("input", "image", "img")  # of several `KEY.WORD.jpg`
_META = re.compile(r"__[^/]*__($|/)")  # webdataset's own
_COMMAND = re.compile(r"pipe:|[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_FRAME = re.compile(r"(?:img|image|frame|rgb)?[-_.]?(\d{1,9})\.(jpg|jpeg|png|ppm)")
_A: dict[Kind | None, str] = {"image": "an image", "video": "a video"}
_TAG = 8  # hex digits of a sha256


class SampleFault(Exception):
    """A sample that cannot be read.

    Args:
        kind: of the damage, in the words of `data verify`.
        detail: what is wrong.
    """

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind


class NoFrames(SampleFault):
    """A sample that is sound, but no frames of ours: a file, of this ending, to be converted."""

    def __init__(self, ending: str) -> None:
        super().__init__("convert", f"is a {ending} file, which has to be converted")
        self.ending = ending


@dataclass
class Group:
    """The members of one sample by extension, in lower case, and what is wrong with them."""

    key: str
    members: dict[str, Member] = field(default_factory=dict)
    fault: SampleFault | None = None


class Media(NamedTuple):
    """Which members hold a sample's pictures, in their order; `codec` is "" if not ours."""

    kind: Kind
    codec: str
    extensions: tuple[str, ...]


def group_samples(members: Iterable[Member]) -> Iterator[Group]:
    """Yield the samples of a tar in their order; hidden files and folders are passed over.

    A key that comes back later is a fault of the later members, as a walk has passed the others.
    """
    seen: dict[str, str] = {}  # of each key, the extension that came first
    group: Group | None = None
    for member in members:
        key, extension = _split_name(member)
        if not key:
            continue
        if group is None or key != group.key:
            if group:
                seen[group.key] = next(iter(group.members))
                yield group
            group = Group(key)
        fault = _fault(member, extension, group, seen)
        group.fault = group.fault or fault
        group.members.setdefault(extension, member)
    if group:
        yield group


def sample_key(key: str) -> str:
    """Return a foreign key as the index has it: ASCII of at most 80 bytes.

    What does not fit is replaced or cut, and ends in 8 hex digits of the foreign key's sha256.
    """
    if key.isascii() and key.isprintable() and len(key) <= KEY_BYTES:
        return key
    digest = hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()[:_TAG]
    plain = re.sub(r"[^!-~]", "_", key)
    return f"{plain[: KEY_BYTES - _TAG - 1]}-{digest}"


def name_fault(name: str) -> str:
    """Say what is wrong with the name of a member or of a tar, which nobody honest gives: or ""."""
    if not name.isprintable():
        return "its name holds characters that control a terminal, or a line break"
    if name.startswith("/") or ".." in name.split("/"):
        return "its name leads out of the folder"
    if _COMMAND.match(name):
        return "it is named like a command or a URL"
    return ""


def find_media(group: Group, kind: Kind | None = None) -> Media:
    """Return which members are a sample's pictures; with `kind`, those of that kind.

    Raises:
        SampleFault: there are none, it is not told which, or a frame is missing between others.
    """
    pickled = [name for name in group.members if ending(name) in _PICKLED]
    if pickled:
        raise SampleFault("pickle", f"member .{pickled[0]} is a pickle, which can run code")
    video = None if kind == "image" else _find_video(group, lone=kind == "video")
    found = video or _find_image(group)
    if found is None:
        missing = "image" if kind == "image" else "image, no frames and no video"
        raise SampleFault("missing_member", f"has no {missing}")
    if kind not in (None, found.kind):
        raise SampleFault("missing_member", f"holds {_A[found.kind]}, not {_A[kind]}")
    return found


def _split_name(member: Member) -> tuple[str, str]:
    """Return key and extension; both empty for what is no member of a sample."""
    name = member.name.removeprefix("./")
    if member.kind == FOLDER or _META.match(name):
        return "", ""
    folder, slash, base = name.rpartition("/")
    stem, _, extension = base.partition(".")
    if not stem or not extension:
        return "", ""
    return f"{folder}{slash}{stem}", extension.lower()


def _fault(
    member: Member, extension: str, group: Group, seen: dict[str, str]
) -> SampleFault | None:
    if member.kind != FILE:
        return SampleFault("link", f"its .{extension} is {member.kind}, not {FILE}")
    if odd := name_fault(member.name):
        return SampleFault("bad_key", odd)
    if extension in group.members:
        return SampleFault("duplicate_key", f"a duplicate: it has two members .{extension}")
    first = seen.get(group.key)
    if first is None:
        return None
    if extension == first:
        return SampleFault("duplicate_key", "a duplicate: its key was there before")
    return SampleFault("interleaved", f"its .{extension} comes after members of other samples")


def ending(extension: str) -> str:
    """Return what follows the last dot."""
    return extension.rpartition(".")[2]


def _find_video(group: Group, *, lone: bool) -> Media | None:
    """Return a video; one numbered picture alone is one if `lone`, or if it is the first."""
    if MJPG in group.members:
        return Media("video", "jpg", (MJPG,))
    frames = {name: found for name in group.members if (found := _FRAME.fullmatch(name))}
    if len(frames) > 1 or any(lone or int(found[1]) < 2 for found in frames.values()):
        return _in_order(frames)
    files = [name for name in group.members if ending(name) in VIDEO_FILES]
    if len(files) > 1:
        raise SampleFault("missing_member", f"has {len(files)} videos instead of one")
    return Media("video", "", (files[0],)) if files else None


def _in_order(frames: dict[str, re.Match[str]]) -> Media:
    numbers = {name: int(found[1]) for name, found in frames.items()}
    names = sorted(numbers, key=numbers.__getitem__)
    for before, name in pairwise(names):
        if numbers[name] == numbers[before]:
            raise SampleFault("duplicate_key", f"a duplicate: .{before} and .{name}")
        if numbers[name] != numbers[before] + 1:
            raise SampleFault("missing_member", f"lacks frame {numbers[before] + 1}")
    codecs = {IMAGES[found[2]] for found in frames.values()}
    if len(codecs) > 1:
        raise SampleFault(
            "bad_media", f"has frames of several formats: {', '.join(sorted(codecs))}"
        )
    return Media("video", codecs.pop(), tuple(names))


def _find_image(group: Group) -> Media | None:
    for endings in (tuple(IMAGES), IMAGE_FILES):
        names = [name for name in group.members if ending(name) in endings]
        if names:
            chosen = _choose(names)
            return Media("image", IMAGES.get(ending(chosen), ""), (chosen,))
    return None


def _choose(names: list[str]) -> str:
    plain = [name for name in names if "." not in name] or names
    if len(plain) == 1:
        return plain[0]
    preferred = [name for name in plain if name.partition(".")[0] in _PREFERRED]
    if len(preferred) == 1:
        return preferred[0]
    raise SampleFault("missing_member", f"has {len(plain)} images instead of one")
