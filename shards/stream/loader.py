"""Whole updates for training, decoded ahead and handed over in order."""

from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

import torch
from torch import Tensor

from shards.stream.ahead import Ahead
from shards.stream.batch import Batch
from shards.stream.memory import Recycler
from shards.stream.train import Empty, TrainStream, plan_batch

__all__ = ["Batch", "TrainStream", "UpdateLoader"]

_Job = Future[tuple[Batch, list[Future[None]]]]


class UpdateLoader(Ahead[Mapping[str, int], dict[str, _Job], dict[str, Batch]]):
    """Iterate over updates: each is one batch per dataset that it names, in its order.

    Threads suffice, since reading and decoding release the interpreter's lock, and they write into
    the batch itself. What a batch holds follows from the plan alone, so neither the number of
    threads nor `rank` and `world` change what is drawn. Use it as a context manager, or `close` it.

    Args:
        streams: the datasets by name.
        updates: for every update the datasets in it and, of each, the plan's step.
        rank, world: this process's number and how many there are.
        threads: decoding threads; by default one per core.
        prefetch: updates in the making beside the one handed out.
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
        super().__init__(updates, threads=threads, prefetch=prefetch)
        self._streams = streams
        self._plan = partial(plan_batch, rank=rank, world=world)
        self._empty: dict[str, Empty] = {
            name: _empty_pinned if pin else Recycler().empty for name in streams
        }
        self._planner = ThreadPoolExecutor(1, "ivvit-planner")  # one: tasks keep their order

    def _start(self, item: Mapping[str, int]) -> dict[str, _Job]:
        jobs = item.items()
        return {name: self._planner.submit(self._lay_out, name, step) for name, step in jobs}

    def _lay_out(self, name: str, step: int) -> tuple[Batch, list[Future[None]]]:
        batch, tasks = self._plan(name, self._streams[name], step, empty=self._empty[name])
        return batch, [self._pool.submit(task) for task in tasks]

    def _finish(self, pending: dict[str, _Job]) -> dict[str, Batch]:
        return {name: _filled(job) for name, job in pending.items()}

    def close(self) -> None:
        """Drop what is not begun, wait for what is (milliseconds), and end the threads."""
        self._planner.shutdown(wait=True, cancel_futures=True)
        super().close()


def _empty_pinned(shape: tuple[int, ...]) -> Tensor:
    return torch.empty(shape, dtype=torch.uint8, pin_memory=True)  # torch recycles this by itself


def _filled(job: _Job) -> Batch:
    batch, tasks = job.result()
    for task in tasks:
        task.result()
    return batch
