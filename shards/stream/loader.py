"""Whole updates, decoded ahead by threads and handed over in order."""

import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import islice
from types import TracebackType
from typing import Self

from shards.stream.batch import Batch
from shards.stream.train import TrainStream, plan_batch

__all__ = ["Batch", "TrainStream", "UpdateLoader", "available_cores"]

_Job = Future[tuple[Batch, list[Future[None]]]]


def available_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))


class UpdateLoader:
    """Iterate over updates: each is one batch per dataset that it names, in its order.

    Threads suffice, since reading and decoding release the interpreter's lock, and they write into
    the batch itself. What a batch holds follows from the plan alone, so neither the number of
    threads nor `rank` and `world` change what is drawn. Use it as a context manager, or `close` it.

    Args:
        streams: the datasets by name.
        updates: for every update the datasets in it and, of each, the plan's step.
        rank, world: this process's number and how many there are.
        threads: decoding threads; by default one per core.
        prefetch: updates in the making ahead of the one handed out.
        pin: put frames into page-locked memory, for copies to a GPU that do not block.

    Raises:
        InputError: (by `next`) a sample cannot be read; names dataset, shard and key.
    """

    def __init__(
        self,
        streams: Mapping[str, TrainStream],
        updates: Iterable[Mapping[str, int]],
        *,
        rank: int = 0,
        world: int = 1,
        threads: int | None = None,
        prefetch: int = 4,
        pin: bool = False,
    ) -> None:
        self._streams = streams
        self._updates = iter(updates)
        self._plan = partial(plan_batch, rank=rank, world=world, pin=pin)
        self._pool = ThreadPoolExecutor(threads or available_cores(), "ivvit-loader")
        self._prefetch = prefetch
        self._ahead: deque[dict[str, _Job]] = deque()

    def __iter__(self) -> Iterator[dict[str, Batch]]:
        return self

    def __next__(self) -> dict[str, Batch]:
        try:
            for update in islice(self._updates, self._prefetch + 1 - len(self._ahead)):
                self._ahead.append({name: self._start(name, step) for name, step in update.items()})
            if not self._ahead:
                raise StopIteration
            return {name: _finished(job) for name, job in self._ahead.popleft().items()}
        except BaseException:
            self.close()
            raise

    def _start(self, name: str, step: int) -> _Job:
        return self._pool.submit(self._make, name, step)

    def _make(self, name: str, step: int) -> tuple[Batch, list[Future[None]]]:
        batch, tasks = self._plan(name, self._streams[name], step)
        return batch, [self._pool.submit(task) for task in tasks]

    def close(self) -> None:
        """Drop what is not begun, wait for what is (milliseconds), and end the threads."""
        self._updates = iter(())
        self._ahead.clear()
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


def _finished(job: _Job) -> Batch:
    batch, tasks = job.result()
    for task in tasks:
        task.result()
    return batch
