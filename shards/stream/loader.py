"""Whole updates for training, decoded ahead and handed over in order."""

from collections.abc import Iterable, Mapping
from concurrent.futures import Future

from torch import Tensor

from shards.stream.ahead import Ahead
from shards.stream.batch import Batch
from shards.stream.device import DeviceDecoder, fill_slots, read_draws
from shards.stream.draws import Draws
from shards.stream.memory import Empty, frame_memory
from shards.stream.pool import choose_threads, open_pool
from shards.stream.reader import Split
from shards.stream.train import TrainStream, lay_out, plan_batch

__all__ = ["Batch", "TrainStream", "UpdateLoader"]

_LOOK_AHEAD = 64  # steps whose shards are fetched, of a remote dataset
_READ_TOGETHER = 16  # samples that a task reads for a GPU to decode

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
        threads: decoding threads, or 0 for none: the caller decodes. By default one per core, and
            at least 32 if a dataset is remote.
        prefetch: updates in the making beside the one handed out, if there are threads.
        pin: put frames into page-locked memory, for copies to a GPU that do not block.
        decoder: decodes on a GPU; the batches' frames are there, then.

    Raises:
        InputError: (by `next`) a sample cannot be read; names dataset, shard and key.
        EnvironmentFault: (by `next`) the server of a remote dataset does not answer.
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
        decoder: DeviceDecoder | None = None,
    ) -> None:
        remote = [name for name, stream in streams.items() if stream.split.is_remote]
        threads = choose_threads(threads, remote=bool(remote))
        super().__init__(updates, threads=threads, prefetch=prefetch if threads else 0)
        self._streams = streams
        self._place = {"rank": rank, "world": world}
        self._decoder = decoder
        self._empty: dict[str, Empty] = {
            name: decoder.empty if decoder else frame_memory(pin=pin) for name in streams
        }
        self._expected = dict.fromkeys(remote, 0)  # steps whose shards are asked for
        self._planner = open_pool(min(threads, 1), "ivvit-planner")  # one: tasks keep their order
        self._decoding = open_pool(min(threads, 1), "ivvit-decoder")

    def _start(self, item: Mapping[str, int]) -> dict[str, _Job]:
        jobs = item.items()
        return {name: self._planner.submit(self._lay_out, name, step) for name, step in jobs}

    def _lay_out(self, name: str, step: int) -> tuple[Batch, list[Future[None]]]:
        stream, empty = self._streams[name], self._empty[name]
        if name in self._expected:
            self._expect(name, step)
        if self._decoder:
            batch, draws = lay_out(name, stream, step, empty=empty, **self._place)
            return batch, [self._decode(self._decoder, stream.split, draws, batch.frames)]
        batch, tasks = plan_batch(name, stream, step, empty=empty, **self._place)
        return batch, [self._pool.submit(task) for task in tasks]

    def _expect(self, name: str, step: int) -> None:
        """Ask for the shards of this rank's samples of the steps to come, in their order."""
        stream, (rank, world) = self._streams[name], self._place.values()
        for ahead in range(max(self._expected[name], step), step + _LOOK_AHEAD):
            indices = stream.plan.indices(ahead)
            own = slice(rank * len(indices) // world, (rank + 1) * len(indices) // world)
            stream.split.expect(indices[own].tolist())
        self._expected[name] = step + _LOOK_AHEAD

    def _decode(
        self, decoder: DeviceDecoder, split: Split, draws: Draws, frames: Tensor
    ) -> Future[None]:
        """Read in the pool; decode, all at once, in the thread that does nothing else."""
        parts = [draws[k : k + _READ_TOGETHER] for k in range(0, len(draws), _READ_TOGETHER)]
        reads = [self._pool.submit(read_draws, split, part) for part in parts]

        def decode() -> None:
            encoded = [each for read in reads for each in read.result()]
            fill_slots(decoder, draws, encoded, frames)

        return self._decoding.submit(decode)

    def _finish(self, pending: dict[str, _Job]) -> dict[str, Batch]:
        return {name: _filled(job) for name, job in pending.items()}

    def close(self) -> None:
        """Drop what is not begun, wait for what is (milliseconds), and end the threads."""
        self._planner.shutdown(wait=True, cancel_futures=True)
        super().close()
        self._decoding.shutdown(wait=True, cancel_futures=True)


def _filled(job: _Job) -> Batch:
    batch, tasks = job.result()
    for task in tasks:
        task.result()
    return batch
