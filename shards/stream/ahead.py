"""Work done ahead by threads and handed over in order, with a bound on how far ahead."""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from types import TracebackType
from typing import Generic, Self, TypeVar

from shards.stream.pool import available_cores, open_pool

Item = TypeVar("Item")
Pending = TypeVar("Pending")
Result = TypeVar("Result")


class Ahead(ABC, Generic[Item, Pending, Result]):
    """An iterator whose next results are already in the making.

    Every result is a future's, so whatever happens in a thread is raised by `next`, and a waiting
    consumer always gets an answer. After an error or `close` the iterator is at its end.
    """

    def __init__(self, items: Iterable[Item], *, threads: int | None, prefetch: int) -> None:
        self._items = iter(items)
        self._prefetch = prefetch
        self._pending: deque[Pending] = deque()
        self._pool = open_pool(available_cores() if threads is None else threads, "ivvit-reader")

    @abstractmethod
    def _start(self, item: Item) -> Pending:
        """Submit an item's work to the pool."""

    @abstractmethod
    def _finish(self, pending: Pending) -> Result:
        """Wait for an item's work; raise what it raised."""

    def __iter__(self) -> Iterator[Result]:
        return self

    def __next__(self) -> Result:
        try:
            for item in islice(self._items, self._prefetch + 1 - len(self._pending)):
                self._pending.append(self._start(item))
            if not self._pending:
                raise StopIteration
            return self._finish(self._pending.popleft())
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Drop what is not begun, wait for what is (milliseconds), and end the threads."""
        self._items = iter(())
        self._pending.clear()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
