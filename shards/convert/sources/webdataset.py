"""WebDataset tars that others made, whose samples are video or image files."""

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from shards.convert.foreign.classes import given_classes, name_classes
from shards.convert.foreign.processes import each_tar
from shards.convert.foreign.tars import Tar, find_tars
from shards.convert.items import Item, Listing
from shards.convert.keys import assign_keys
from shards.convert.sources.folders import dataset_name
from shards.convert.sources.scan import printable
from shards.errors import InputError
from shards.files import open_plain
from shards.headers import Read, reader_of
from shards.labels import ClassList, Label, read_json, read_label
from shards.manifest import Kind
from shards.members import Group, SampleFault, find_media, group_samples, name_fault
from shards.tarwalk import TarDamage, walk

_FRAMES = "frames"  # a form beside the kinds: what needs no conversion
_NONE = Label(None, None)


class _Found(NamedTuple):
    """A sample: its form, and where its file lies; or what is wrong with it, or with the tar."""

    key: str
    form: str
    place: tuple[int, int]
    label: Label
    fault: str = ""

    def fault_among(self, kind: Kind) -> str:
        """Return why it cannot be converted in a dataset of this kind, or ""."""
        if self.fault or self.form == kind:
            return self.fault
        return f"is no {kind}, as most are, but {self.form}"


def list_items(source: str, root: Path, *, fold: int = 1) -> Listing:
    """List the video or image files in the tars of a folder, whichever are more.

    Classes are those of a file such as classes.txt in the folder, else of the tars, as for an
    index. What is bad is listed, too, and will be skipped for that reason.

    Raises:
        InputError: there is no tar, or no such file in them.
    """
    tars, notes = find_tars(root)
    given = given_classes(root, None)
    known = ClassList(given.names) if given else None
    found = list(each_tar(partial(_look, classes=known), tars))
    kind = _kind(root, tars, found)
    fit = [sample for samples in found for sample in samples if sample.form == kind]
    classes = given or name_classes(sample.label for sample in fit)
    numbers = dict(zip(fit, classes.numbers(sample.label for sample in fit), strict=True))
    items = [
        item for tar, samples in zip(tars, found, strict=True)
        for item in _items(tar, samples, kind, numbers)
    ]  # fmt: skip
    return Listing(
        dataset_name(root, source), kind, classes.names, classes.source, assign_keys(items),
        notes=(*notes, *filter(None, [classes.note])),
    )  # fmt: skip


def _look(tar: Tar, classes: ClassList | None) -> list[_Found]:
    """Return the samples of a tar; of a damaged one, none but what is wrong with it."""
    fault = name_fault(tar.source)
    try:
        if not fault:
            with open_plain(tar.path) as file:
                read = reader_of(file.fileno())
                groups = group_samples(walk(file.fileno()))
                if found := [_sample(group, read, classes) for group in groups]:
                    return found
            fault = "holds no sample"
    except TarDamage as damage:
        fault = str(damage)
    except (OSError, ValueError) as error:
        fault = f"cannot be read: {error}"
    return [_Found("", "", (0, 0), _NONE, fault)]


def _sample(group: Group, read: Read, classes: ClassList | None) -> _Found:
    try:
        if group.fault:
            raise group.fault
        media = find_media(group)
        label = read_label(group, read, read_json(group, read))
        if classes:
            label = Label(classes.number(label), None)
    except SampleFault as fault:
        return _Found(group.key, "", (0, 0), _NONE, str(fault))
    member = group.members[media.extensions[0]]
    form = _FRAMES if media.kind == "video" and media.codec else media.kind
    return _Found(group.key, form, (member.offset, member.size), label)


def _kind(root: Path, tars: Sequence[Tar], found: Sequence[Sequence[_Found]]) -> Kind:
    forms = Counter(sample.form for samples in found for sample in samples if not sample.fault)
    if not forms:
        first = found[0][0]
        where = _source(tars[0], first)
        raise InputError(f"{root}: holds nothing to convert: {where}: {first.fault}")
    most = max(forms, key=lambda form: (forms[form], form))
    if most == _FRAMES:
        raise InputError(
            f"{root}: its samples are frames already, which need no conversion",
            hint=f"ivvit data index {root}",
        )
    return "video" if most == "video" else "image"


def _items(
    tar: Tar, samples: Sequence[_Found], kind: Kind, numbers: dict[_Found, int]
) -> Iterator[Item]:
    seen: Counter[str] = Counter()
    for sample in samples:
        source = _source(tar, sample)
        seen[source] += 1
        if seen[source] > 1:  # a duplicate, which is a fault, but needs a name
            source += f" ({seen[source]})"
        fault = sample.fault_among(kind)
        yield Item(
            sample.key or tar.file, tar.split, numbers.get(sample, 0), source, sample.place[1],
            modified=tar.modified, path=tar.path, place=sample.place, fault=fault,
        )  # fmt: skip


def _source(tar: Tar, sample: _Found) -> str:
    name = printable(tar.source)
    return f"{name}:{sample.key}" if sample.key else name
