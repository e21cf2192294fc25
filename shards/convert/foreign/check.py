"""Whether tars of others still are what their index says, down to every picture."""

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from shards.convert.contents import Content, places_of
from shards.convert.foreign.folder import INDEXED
from shards.convert.foreign.record import RECORD, left_out
from shards.convert.foreign.scan import Rules, samples
from shards.convert.image import decoded_size
from shards.convert.shardcheck import ShardFindings
from shards.convert.sources.scan import size_and_time
from shards.describe import Description
from shards.errors import InputError
from shards.index import FRAME, Layout, read_layout
from shards.labels import Label
from shards.manifest import DatasetInfo
from shards.members import SampleFault
from shards.tarwalk import TarDamage


class ForeignCheck:
    """Checks the tars of an index; what was left out when it was made is no news.

    Args:
        folder: the folder of the index.
        info: its manifest.
    """

    def __init__(self, folder: Path, info: DatasetInfo) -> None:
        fps = info.options.get("fps")
        self._folder = folder
        rate = float(fps) if isinstance(fps, int | float) else None
        self._rules = Rules(info.kind, rate, info.classes)
        self._chosen = bool(info.options.get("splits"))

    def unlisted(self, files: Iterable[str]) -> set[str]:
        """Return which tars, of those that the manifest does not name, it should name."""
        if self._chosen:
            return set()
        return {file for file in files if not self._is_left_out(file)}

    def members(self, descriptor: int, findings: ShardFindings, pool: ThreadPoolExecutor) -> bool:
        """Check the samples as far as the tar can be walked; return whether that was to its end."""
        known = self._known(findings.name)
        found: list[tuple[Description, Label]] = []
        whole = True
        try:
            for key, sample in samples(descriptor, self._rules):
                if not isinstance(sample, SampleFault):
                    found.append(sample)
                elif key not in known:
                    findings.samples += 1
                    findings.report(sample.kind, f"{key}: {sample}")
        except TarDamage as damage:
            findings.report(damage.kind, str(damage))
            whole = False
        findings.samples += len(found)
        for result in pool.map(lambda sample: self._decode(descriptor, *sample), found):
            if isinstance(result, Content):
                findings.contents.append(result)
            else:
                findings.report("bad_media", result)
        return whole

    def _known(self, file: str) -> set[str]:
        """Return the keys of what was left out of a tar; "" stands for the whole tar."""
        layout = self._record(file)
        return {left.key for left in left_out(layout.header)} if layout else set()

    def _is_left_out(self, file: str) -> bool:
        """Return whether nothing of a tar, as it is, was of use when the index was made."""
        layout = self._record(file)
        size, _ = size_and_time(self._folder / file)
        return bool(layout and not layout.samples and size in layout.header.get("tar", ()))

    def _record(self, file: str) -> Layout | None:
        try:
            layout = read_layout(self._folder / f"{file}{RECORD}")
            left_out(layout.header)
        except (InputError, KeyError, TypeError):  # then what was left out is reported again
            return None
        return layout

    def _decode(self, descriptor: int, found: Description, label: Label) -> Content | str:
        size = (found.width, found.height)
        for start, count in found.frames:
            try:
                decoded = decoded_size(os.pread(descriptor, count, start), found.codec)
            except ValueError as error:
                return f"{found.key}: the picture at byte {start}: {error}"
            if decoded != size:
                return f"{found.key}: the picture at byte {start} is {decoded}, not {size}"
        number, places = label.number or 0, places_of(np.array(found.frames, FRAME))
        return Content(
            *(found.key, number, found.codec, *size, found.fps, places),
            kind=found.kind,
            class_name=self._rules.classes[number] if self._rules.classes else "",
        )


def is_indexed(info: DatasetInfo) -> bool:
    """Return whether a manifest is of tars of others."""
    return bool(info.options.get(INDEXED))
