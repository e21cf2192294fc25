"""SIGTERM, SIGUSR1 and Ctrl-C as a wish that the loop grants after the iteration it is in."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from ivvit_cli.errors import RunInterrupted
from ivvit_cli.runs import resume_command

# Slurm sends SIGUSR1 before a job's time is up, when asked to (`sbatch --signal`).
STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
LAUNCHED = "IVVIT_LAUNCHED"  # in the environment of a process whose launcher passes signals on


class StopSignals:
    """Note the first of these signals in `received`; the second one ends the process at once.

    `on_first` is called with the name of the first one, as soon as it comes.

    Under a launcher, torchrun or a table, a second one is passed over: a terminal sends Ctrl-C to
    both, and the launcher repeats it, so that it says nothing about the user's patience.
    """

    def __init__(self, on_first: Callable[[str], object]) -> None:
        self.received = 0
        self._on_first = on_first
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopSignals":
        self._before = {number: signal.signal(number, self._note) for number in STOPPING}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if not {LAUNCHED, "TORCHELASTIC_RUN_ID"} & os.environ.keys():
            for each in STOPPING:
                signal.signal(each, signal.SIG_DFL)
        if not self.received:
            self.received = number
            self._on_first(signal.Signals(number).name)


def interrupted(run: Path, number: int, iteration: int, total: int) -> RunInterrupted:
    """Return the error that ends a run for a signal, after an iteration that is saved."""
    return RunInterrupted(
        f"{signal.Signals(number).name}: stopped after iteration {iteration} of {total}, "
        "which is saved",
        signal_number=number,
        hint=resume_command(run),
    )
