"""Threads against worker processes in the loader, on the cores that this process may use.

Both sides draw, read, decode and cut the same batches of uint8 frames. The processes are those of
torch's DataLoader: each makes whole batches, alone, and hands them over in shared memory.
"""

import os
import resource
import time
from collections.abc import Callable, Iterator
from itertools import count, islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from bench.paired import print_table, ratio
from bench.samples import split
from shards.stream.loader import TrainStream, UpdateLoader
from shards.stream.plan import Plan

ROUNDS = 5
CASES = (  # dataset, kind, clip, samples of a batch, batches of a round
    ("ucf101", "video", {"sample": "window", "length": 16, "seconds": 2.67}, 6, 60),
    ("tiny-imagenet", "image", {}, 64, 150),
)


def main() -> None:
    """Print samples a second and CPU time a sample of each, and how much faster threads are."""
    cores = len(os.sched_getaffinity(0))
    for name, kind, clip, batch, steps in CASES:
        data = split(name, kind)
        stream = TrainStream(data, Plan(name, len(data), batch, 0), 224, **clip)  # type: ignore[arg-type]
        readers = {f"{cores} threads": threads(stream), f"{cores} processes": processes(stream)}
        walls, cpus = measure(readers, steps)
        rows = [
            [
                who,
                f"{steps * batch / np.median(walls[who]):.0f}",
                f"{np.median(cpus[who]) / steps / batch * 1e3:.3f}",
            ]
            for who in readers
        ]
        print_table(f"{name}, batches of {batch}", ["", f"{kind}s / s", "CPU ms each"], rows)
        ours, theirs = readers
        print(f"  threads are faster {ratio(walls[theirs], walls[ours])} times in wall time,")
        print(f"  {ratio(cpus[theirs], cpus[ours])} times in CPU time")


def threads(stream: TrainStream) -> Iterator[object]:
    """Read an endless row of batches with threads."""
    with UpdateLoader({"data": stream}, ({"data": step} for step in count())) as loader:
        yield from loader


def processes(stream: TrainStream) -> Iterator[object]:
    """Read the same row with worker processes."""
    yield from DataLoader(Steps(stream), None, num_workers=len(os.sched_getaffinity(0)))


class Steps(IterableDataset[Tensor]):
    """Every n-th batch of a stream, in each of n processes."""

    def __init__(self, stream: TrainStream) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[Tensor]:
        """Yield this process's batches, made by itself."""
        torch.set_num_threads(1)
        worker = get_worker_info()
        steps = ({"data": step} for step in count(worker.id, worker.num_workers))
        with UpdateLoader({"data": self._stream}, steps, threads=0) as loader:
            for update in loader:
                yield update["data"].frames


def measure(
    readers: dict[str, Iterator[object]], steps: int
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Read so many batches from each in turn, and return wall and CPU seconds of each round."""
    walls: dict[str, list[float]] = {name: [] for name in readers}
    cpus: dict[str, list[float]] = {name: [] for name in readers}
    for number in range(ROUNDS + 1):
        for name, reader in readers.items():
            wall, cpu = timed(lambda reader=reader: [None for _ in islice(reader, steps)])
            if number:
                walls[name].append(wall)
                cpus[name].append(cpu)
    return walls, cpus


def timed(task: Callable[[], object]) -> tuple[float, float]:
    """Return the wall seconds of a task, and the CPU seconds of this process and its children."""
    start, before = time.perf_counter(), cpu_seconds()
    task()
    return time.perf_counter() - start, cpu_seconds() - before


def cpu_seconds() -> float:
    """Return the CPU seconds of this process and of its children, which are alive."""
    own = resource.getrusage(resource.RUSAGE_SELF)
    return own.ru_utime + own.ru_stime + sum(map(_of_child, _children()))


def _children() -> list[int]:
    text = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
    return [int(number) for number in text.split()]


def _of_child(number: int) -> float:
    fields = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
