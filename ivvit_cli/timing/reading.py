"""How fast shards are read: by dataset, as the schedule has it, and with other threads."""

import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from statistics import median
from typing import Any

import torch

from ivvit_cli.timing.advice import Stored, advise
from ivvit_cli.timing.clock import spread
from ivvit_cli.timing.decoding import Probe, draw_probe, steps_from
from ivvit_cli.timing.rehearsal import trainer_of
from ivvit_cli.training.job import Job
from ivvit_cli.training.loop import Trainer
from shards.stream.loader import TrainStream, UpdateLoader
from shards.stream.pool import available_cores, choose_threads

_ROUNDS = 3

Row = dict[str, Any]


def time_reading(job: Job, device: torch.device, seconds: float) -> Row:
    """Read a job's training samples for about so many seconds; return how fast that is.

    A share is that of the decode bound: what the same samples take to be decoded, and nothing else,
    in one thread, times the threads.

    Raises:
        IvvitError: as `trainer_of`, or a sample cannot be read.
    """
    _, trainer = trainer_of(job, device)
    remote = any(stream.split.is_remote for stream in trainer.streams.values())
    threads = choose_threads(trainer.loading.threads, remote=remote)
    first = trainer.progress.iteration
    probes = {name: draw_probe(stream, first) for name, stream in trainer.streams.items()}
    meter = Meter(trainer, probes, threads, first)
    for _ in range(_ROUNDS):
        meter.go_round(seconds / _ROUNDS)
    whole = {number: meter.row(windows) for number, windows in meter.together.items()}
    return {
        "threads": threads,
        "cores": available_cores(),
        "datasets": {name: meter.dataset_row(name) for name in probes},
        "schedule": whole[threads],
        "by_threads": {str(number): row for number, row in whole.items()},
        "advice": meter.advice(remote),
    }


def thread_counts(own: int) -> list[int]:
    """Return 1, 2, 4 and so on up to the cores, and the recipe's own number."""
    cores = available_cores()
    doubled = [1 << power for power in range(cores.bit_length()) if 1 << power < cores]
    return sorted({*doubled, cores, own})


@dataclass(frozen=True)
class Window:
    """What a loader handed over in some seconds, and what share of them decoding alone takes."""

    samples: Counter[str]
    seconds: float
    share: float

    def rate(self, names: Iterable[str]) -> float:
        """Return the samples per second of some datasets."""
        return sum(self.samples[name] for name in names) / self.seconds


@dataclass
class Meter:
    """Reads the datasets of a trainer, and counts.

    Args:
        probes: of each dataset.
        threads: as the recipe has it.
        step: the next to read; none is read twice, as memory would give it.
    """

    trainer: Trainer
    probes: Mapping[str, Probe]
    threads: int
    step: int
    decoding: dict[str, list[float]] = field(default_factory=dict)  # seconds per sample
    alone: dict[str, list[Window]] = field(default_factory=dict)
    together: dict[int, list[Window]] = field(default_factory=dict)  # by number of threads

    def go_round(self, seconds: float) -> None:
        """Measure everything once, so that a share compares what was measured close together."""
        counts = thread_counts(self.threads)
        singles = list(self.probes) if len(self.probes) > 1 else []
        for name, probe in self.probes.items():
            self.decoding.setdefault(name, []).append(probe.decode())
        each = seconds / (len(counts) + len(singles))
        for name in singles:
            self.alone.setdefault(name, []).append(self._window([name], self.threads, each))
        for threads in counts:
            window = self._window(list(self.probes), threads, each)
            self.together.setdefault(threads, []).append(window)

    def _window(self, names: Sequence[str], threads: int, seconds: float) -> Window:
        samples, updates = Counter[str](), 0
        with self._open(names, threads) as loader:
            next(loader)  # the first starts the threads
            start = time.perf_counter()
            while not updates or time.perf_counter() - start < seconds:
                samples.update({name: batch.count for name, batch in next(loader).items()})
                updates += 1
            passed = time.perf_counter() - start
        self.step += updates + self.trainer.loading.prefetch + 1
        decoding = sum(self.decoding[name][-1] * count for name, count in samples.items())
        return Window(samples, passed, decoding / (passed * self._used(threads)))

    def _open(self, names: Sequence[str], threads: int) -> UpdateLoader:
        trainer = self.trainer
        updates: Iterable[Mapping[str, int]] = trainer.schedule.between(self.step, sys.maxsize)
        if len(names) < len(self.probes):
            steps = steps_from(trainer.streams[names[0]], self.step)
            updates = ({names[0]: step} for step in steps)
        streams = {name: trainer.streams[name] for name in names}
        loading = replace(trainer.loading, threads=threads)
        return loading.open(streams, updates, ranks=trainer.ranks, device=trainer.device)

    @staticmethod
    def _used(threads: int) -> int:
        """Return how many cores so many threads keep busy; of none, the caller's."""
        return min(max(threads, 1), available_cores())

    def row(self, windows: Sequence[Window]) -> Row:
        """Return the rates of some windows."""
        kinds = {name: stream.split.kind for name, stream in self.trainer.streams.items()}
        clips, images = (
            [name for name, each in kinds.items() if each == kind] for kind in ("video", "image")
        )
        size = [sum(w.rate([n]) * p.sample_bytes for n, p in self.probes.items()) for w in windows]
        return {
            "clips_per_second": asdict(spread([window.rate(clips) for window in windows])),
            "images_per_second": asdict(spread([window.rate(images) for window in windows])),
            "bytes_per_second": asdict(spread(size)),
            "share": asdict(spread([window.share for window in windows])),
        }

    def dataset_row(self, name: str) -> Row:
        """Return the rates of one dataset read alone, and what is known of its samples."""
        probe, kind = self.probes[name], self.trainer.streams[name].split.kind
        rates = self.row(self.alone.get(name) or self.together[self.threads])
        other = "images_per_second" if kind == "video" else "clips_per_second"
        return {
            "kind": kind,
            "codec": probe.codec,
            "short_side": probe.short_side,
            "frames_per_sample": len(probe.frames) / probe.samples,
            **{key: value for key, value in rates.items() if key != other},
            "decoded_per_second": asdict(spread([1 / taken for taken in self.decoding[name]])),
        }

    def advice(self, remote: bool) -> str:
        """Return what would make the whole schedule's reading faster."""
        own = self.together[self.threads]
        loads = {
            name: median(self.decoding[name]) * sum(window.samples[name] for window in own)
            for name in self.probes
        }
        stored = {
            name: Stored(
                probe.short_side,
                largest_needed(self.trainer.streams[name]),
                loads[name] / sum(loads.values()),
            )
            for name, probe in self.probes.items()
        }
        return advise(
            stored,
            {n: median(w.rate(self.probes) for w in ws) for n, ws in self.together.items()},
            threads=self.threads,
            share=median(window.share for window in own),
            remote=remote,
        )


def largest_needed(stream: TrainStream) -> int:
    """Return the largest short side that crops are taken at, in pixels; 10/7 of the input's."""
    return stream.short_sides[1] if stream.short_sides else stream.size * 10 // 7
