"""Files and windows of videos, each with its views, read ahead of the model."""

import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ivvit_cli.prediction.files import MediaFile
from ivvit_cli.prediction.heads import Head, Reading
from ivvit_cli.prediction.media import view_file
from ivvit_cli.prediction.windows import Windows, view_windows
from shards.errors import InputError
from shards.manifest import Kind
from shards.stream.ahead import Ahead
from shards.stream.pool import available_cores
from shards.stream.views import ViewedSample, Views

_WINDOWS_AHEAD = 8


@dataclass
class Prediction:
    """A file, or a window of one, and each head's probabilities, (C,) float32.

    There are none when there is an error. `span` is a window's start and end in seconds, `awaited`
    how many heads will score it, and `read` when it was read (`time.monotonic`).
    """

    path: Path
    kind: Kind | None
    error: str | None = None
    span: tuple[float, float] | None = None
    scores: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    awaited: int = 0
    read: float = field(default_factory=time.monotonic)


Seen = tuple[Prediction, Mapping[Reading, ViewedSample]]


def open_reader(
    files: Sequence[MediaFile],
    heads: Sequence[Head],
    windows: Windows | None,
    *,
    views: Views,
    size: int,
) -> Ahead[Any, Any, Seen]:
    look = partial(_look_at, heads=heads, views=views, size=size)
    if windows is None:
        return _FileReader(files, look)
    return _WindowReader(_each_window(files, look, heads, windows, views=views, size=size))


class _FileReader(Ahead[MediaFile, Future[Seen], Seen]):
    """Iterate over the files in order, each with its views, read ahead by threads."""

    def __init__(self, files: Iterable[MediaFile], look: Callable[[MediaFile], Seen]) -> None:
        super().__init__(files, threads=None, prefetch=2 * available_cores())
        self._look = look

    def _start(self, item: MediaFile) -> Future[Seen]:
        return self._pool.submit(self._look, item)

    def _finish(self, pending: Future[Seen]) -> Seen:
        return pending.result()


class _WindowReader(Ahead[Generator[Seen, None, None], Future[Seen | None], Seen]):
    """Iterate over what one thread reads a few steps ahead."""

    def __init__(self, seen: Generator[Seen, None, None]) -> None:
        super().__init__(repeat(seen), threads=1, prefetch=_WINDOWS_AHEAD)
        self._seen = seen

    def _start(self, item: Generator[Seen, None, None]) -> Future[Seen | None]:
        return self._pool.submit(next, item, None)

    def _finish(self, pending: Future[Seen | None]) -> Seen:
        seen = pending.result()
        if seen is None:
            raise StopIteration
        return seen

    def close(self) -> None:
        """End the thread, and the process that it reads from."""
        super().close()
        self._seen.close()


def _each_window(
    files: Iterable[MediaFile],
    look: Callable[[MediaFile], Seen],
    heads: Sequence[Head],
    windows: Windows,
    *,
    views: Views,
    size: int,
) -> Generator[Seen, None, None]:
    """Yield the windows of videos, and images as they are."""
    for file in files:
        if file.kind != "video":
            yield look(file)
            continue
        readings = _readings(heads, file.kind)
        try:
            found = view_windows(file.path, readings, windows, views=views, size=size)
            with closing(found) as parts:
                for part in parts:
                    yield Prediction(file.path, file.kind, span=(part.start, part.end)), part.views
        except InputError as error:
            yield Prediction(file.path, file.kind, error.message), {}


def _look_at(file: MediaFile, *, heads: Sequence[Head], views: Views, size: int) -> Seen:
    prediction = Prediction(file.path, file.kind, file.error)
    if file.kind is None:
        return prediction, {}
    readings = _readings(heads, file.kind)
    try:
        return prediction, view_file(file.path, file.kind, readings, views=views, size=size)
    except InputError as error:
        prediction.error = error.message
        return prediction, {}


def _readings(heads: Iterable[Head], kind: Kind) -> Iterable[Reading]:
    return dict.fromkeys(head.readings[kind] for head in heads)
