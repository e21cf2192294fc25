"""One tar of others, walked once: what goes into its index, and what is left out, and why."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from shards.convert.foreign.tars import Tar
from shards.describe import Description, describe
from shards.files import open_plain
from shards.headers import reader_of
from shards.index import CODECS
from shards.labels import ClassList, Label
from shards.manifest import Kind
from shards.members import NoFrames, SampleFault, group_samples, name_fault
from shards.tarwalk import TarDamage, walk


@dataclass(frozen=True)
class Rules:
    """How samples are read.

    Args:
        kind: which members count, if samples have an image and a video.
        fps: frames per second of videos that do not tell.
        classes: class names in label order; None: what the samples say.
        checksum: whether to read all of the tar, for its sha256.
    """

    kind: Kind | None = None
    fps: float | None = None
    classes: tuple[str, ...] | None = None
    checksum: bool = False

    @property
    def digest(self) -> str:
        """Return what changes with anything that decides the outcome of a scan."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


class LeftOut(NamedTuple):
    """A sample that is left out, or, without a key, a whole tar."""

    key: str
    kind: str
    reason: str

    def source(self, tar: str) -> str:
        """Return where it is."""
        return f"{tar}:{self.key}" if self.key else tar


@dataclass
class Scan:
    """What a tar holds: rows of SAMPLE and FRAME, whose labels are places in `labels`."""

    rows: list[tuple[Any, ...]] = field(default_factory=list)
    frames: list[tuple[int, int]] = field(default_factory=list)
    labels: dict[Label, int] = field(default_factory=dict)
    left_out: list[LeftOut] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)
    files: Counter[str] = field(default_factory=Counter)  # what has to be converted, by ending
    unrated: int = 0  # videos that do not tell their frames per second
    sha256: str | None = None

    @property
    def content(self) -> str:
        """Return a digest of all keys and of the sizes of all frames."""
        keys = [row[0].decode() for row in self.rows]
        text = json.dumps([keys, [size for _, size in self.frames]])
        return hashlib.sha256(text.encode()).hexdigest()

    def add(self, found: Description, label: Label) -> None:
        """Take a sample in."""
        number = self.labels.setdefault(label, len(self.labels))
        codec = CODECS.index(found.codec)
        self.kinds[found.kind] += 1
        self.unrated += found.kind == "video" and not found.fps
        self.rows.append(
            (
                *(found.key.encode(), len(self.frames), len(found.frames), number, 0),
                *(codec, found.width, found.height, found.fps),
            )
        )
        self.frames.extend(found.frames)

    def leave_out(self, key: str, fault: SampleFault) -> None:
        """Note a sample that is left out."""
        if isinstance(fault, NoFrames):
            self.files[fault.ending] += 1
        self.left_out.append(LeftOut(key, fault.kind, str(fault)))


def scan_tar(tar: Tar, rules: Rules) -> Scan:
    """Read all headers of a tar, and those of its pictures; nothing of a damaged one is taken.

    Raises:
        OSError: it cannot be read.
    """
    scan = Scan()
    if fault := name_fault(tar.source):
        scan.left_out.append(LeftOut("", "bad_key", fault))
        return scan
    try:
        with open_plain(tar.path) as file:
            for key, found in samples(file.fileno(), rules):
                if isinstance(found, SampleFault):
                    scan.leave_out(key, found)
                else:
                    scan.add(*found)
        if not scan.rows and not scan.left_out:
            raise TarDamage("empty_shard", "holds no sample")
    except TarDamage as damage:
        return Scan(left_out=[LeftOut("", damage.kind, str(damage))])
    if rules.checksum:
        with tar.path.open("rb") as file:
            scan.sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return scan


def samples(
    descriptor: int, rules: Rules
) -> Iterator[tuple[str, tuple[Description, Label] | SampleFault]]:
    """Yield the key of each sample of an open tar, and what it is or what is wrong with it.

    With `rules.classes`, labels are numbers of these classes.

    Raises:
        TarDamage: the tar is damaged; what is behind the damage cannot be read.
        OSError: it cannot be read.
    """
    classes = ClassList(rules.classes) if rules.classes is not None else None
    read = reader_of(descriptor)
    for group in group_samples(walk(descriptor)):
        try:
            found = describe(group, read, kind=rules.kind, fps=rules.fps)
            label = Label(classes.number(found.label), None) if classes else found.label
        except SampleFault as fault:
            yield group.key, fault
        else:
            yield group.key, (found, label)
