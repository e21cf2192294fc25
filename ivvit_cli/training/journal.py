"""What a run tells: metrics.jsonl, a log and the screen. Only the leader has a journal."""

import resource
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

from ivvit_cli import console
from ivvit_cli.training.compiling import Compilations
from ivvit_cli.training.display import Screen
from ivvit_cli.training.folder import LOG_FILE, METRICS_FILE, append_metrics
from ivvit_cli.training.progress import RunProgress, Tally

BOTTLENECK = 0.2  # share of the time that waits for data
_SETTLED = 5.0  # seconds after the first iteration before that share means something


class Journal:
    """Writes down how a run goes.

    Args:
        run: the run folder.
        screen: where the user looks.
        datasets: the names, in the order of the updates.
    """

    def __init__(self, run: Path, screen: Screen, datasets: list[str]) -> None:
        self._run = run
        self._screen = screen
        self._datasets = datasets
        self._seconds = self._waited = 0.0
        self._iterations = 0
        self._warned = self._failed = False
        self._compilations: Compilations | None = None

    def watch(self, compilations: Compilations) -> None:
        """Warn, once, when more is compiled than has to be."""
        self._compilations = compilations

    def iterated(
        self, progress: RunProgress, rate: float, *, seconds: float, waited: float
    ) -> None:
        """Show an iteration, which took `seconds` and of these waited `waited` for data."""
        self._iterations += 1
        if self._iterations > 1:  # the first also starts the loader's threads
            self._seconds += seconds
            self._waited += waited
        if text := self._screen.iterated(progress.iteration, seconds, self._rows(progress, rate)):
            self._log(text)
        self._warn_of_bottleneck()
        self._warn_of_compilations()

    def logged(self, progress: RunProgress, rate: float) -> None:
        """Write the tallies to metrics.jsonl."""
        self._write_metrics(self._rows(progress, rate))

    def validating(self, iteration: int, dataset: str, done: int, total: int) -> None:
        """Show how far a validation is, in samples."""
        self._screen.validating(iteration, f"validating {dataset} {done}/{total}")

    def validated(self, iteration: int, scores: Mapping[str, Mapping[str, Any]]) -> None:
        """Write and show the results of a validation, {dataset: its figures}."""
        lines = [
            {"event": "eval", "iteration": iteration, "dataset": name, **figures}
            for name, figures in scores.items()
        ]
        self._write_metrics(lines)
        self._log(self._screen.validated(iteration, scores))

    def say(self, text: str) -> None:
        """Tell the user and the log."""
        console.say(text)
        self._log(text)

    def warn(self, text: str) -> None:
        """Warn the user, and note it in the log."""
        console.warn(text)
        self._log(f"warning: {text}")

    def _rows(self, progress: RunProgress, rate: float) -> list[dict[str, Any]]:
        return [
            _row(progress, name, progress.tallies[name], rate)
            for name in self._datasets
            if name in progress.tallies
        ]

    def _write_metrics(self, lines: Iterable[Mapping[str, Any]]) -> None:
        with self._forgiving(METRICS_FILE):
            append_metrics(self._run, lines)

    def _log(self, text: str) -> None:
        with self._forgiving(LOG_FILE), self._run.joinpath(LOG_FILE).open("a") as file:
            file.write(f"{datetime.now():%Y-%m-%d %H:%M:%S} {console.clean(text)}\n")

    @contextmanager
    def _forgiving(self, name: str) -> Iterator[None]:
        """Let a run outlive its log: what cannot be written is one warning on the screen."""
        try:
            yield
        except OSError as error:
            if not self._failed:
                console.warn(f"{self._run / name}: cannot be written: {error.strerror}")
            self._failed = True

    def _warn_of_bottleneck(self) -> None:
        if self._warned or self._seconds < _SETTLED:
            return
        share = self._waited / self._seconds
        if share > BOTTLENECK:
            self._warned = True
            self.warn(
                f"the loader is the bottleneck: {share:.0%} of the time waits for data; use more "
                "cores (loader.threads), or shards with a smaller --short-side"
            )

    def _warn_of_compilations(self) -> None:
        if self._compilations and (complaint := self._compilations.complaint()):
            self._compilations = None
            self.warn(complaint)


def _row(progress: RunProgress, dataset: str, tally: Tally, rate: float) -> dict[str, Any]:
    seconds = tally.seconds or float("inf")
    return {
        "event": "train",
        "iteration": progress.iteration,
        "dataset": dataset,
        "loss": tally.mean_loss,
        "top1": tally.top1,
        "lr": rate,
        "samples": tally.samples,
        "clips_per_second": tally.samples / seconds,
        "data_wait": tally.waited / seconds,
        "memory_mb": _memory_mb(),
        "skipped": progress.guard.skipped,
    }


def _memory_mb() -> int:
    """Return the most memory held so far: the GPU's where there is one, else this process's."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() >> 20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


class Stopwatch:
    """Tells the seconds since it was last read."""

    def __init__(self) -> None:
        self._then = time.perf_counter()

    def lap(self) -> float:
        """Return the seconds since the last lap."""
        now = time.perf_counter()
        passed, self._then = now - self._then, now
        return passed
