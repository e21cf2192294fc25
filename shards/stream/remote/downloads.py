"""Shards on their way into the cache, fetched in the order in which they are wanted."""

import threading
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path

from shards.errors import InputError, IvvitError
from shards.stream.remote.cache import Busy, NoRoom

Fetch = Callable[[int], Path]

THREADS = 4  # downloads at a time: one connection rarely fills a network


class Downloads:
    """A queue of shards that threads work off; they end when it is empty, or with the process.

    The queue is given up as soon as a shard finds no room: all that are in use are wanted equally,
    so one would only push out another.

    Args:
        fetch: fetches the shard of a number (`download` without waiting).
    """

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch
        self._queue: deque[int] = deque()
        self._known: set[int] = set()  # queued or on their way
        self._faults: dict[int, InputError] = {}
        self._running = 0
        self._full = False
        self._lock = threading.Lock()

    def want(self, shards: Iterable[int]) -> None:
        """Queue shards behind those that are."""
        with self._lock:
            new = [] if self._full else [s for s in dict.fromkeys(shards) if s not in self._known]
            self._known.update(new)
            self._queue.extend(new)
            for _ in range(min(THREADS - self._running, len(new))):
                self._running += 1
                threading.Thread(target=self._work, name="ivvit-download", daemon=True).start()

    def check(self, shard: int) -> None:
        """Raise what the download of a shard found wrong with it, once."""
        with self._lock:
            if fault := self._faults.pop(shard, None):
                raise fault

    def _work(self) -> None:
        while (shard := self._next()) is not None:
            try:
                self._fetch(shard)
            except NoRoom:
                with self._lock:
                    self._full = True
                    self._queue.clear()
            except InputError as error:
                self._faults[shard] = error
            except (Busy, IvvitError):
                pass  # a reader that needs the shard asks for it again, and hears of what is wrong
            with self._lock:
                self._known.discard(shard)

    def _next(self) -> int | None:
        with self._lock:
            if self._queue:
                return self._queue.popleft()
            self._running -= 1
            return None
