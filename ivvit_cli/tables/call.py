"""A command of ivvit's in a process of its own, which does not outlive a signal to this one."""

import os
import signal
import sys
from collections.abc import Sequence
from subprocess import DEVNULL, PIPE, Popen

from ivvit_cli.errors import RunInterrupted
from ivvit_cli.training.interrupt import LAUNCHED, StopSignals


def call(words: Sequence[str]) -> str:
    """Run a command, and return its error line; nothing where it went well.

    A signal is passed on, so that a training saves and stops.

    Raises:
        RunInterrupted: a signal came, and the process has ended.
    """
    command = [sys.executable, "-m", "ivvit_cli", *words]
    own = os.environ | {LAUNCHED: "1"}
    process = Popen(command, stdout=DEVNULL, stderr=PIPE, text=True, env=own)
    with process, StopSignals(lambda name: process.send_signal(signal.Signals[name])) as stop:
        _, said = process.communicate()
    if stop.received:
        name = signal.Signals(stop.received).name
        raise RunInterrupted(
            f"{name}: stopped in `ivvit {words[0]}`",
            signal_number=stop.received,
            hint="the same command goes on from here",
        )
    if not process.returncode:
        return ""
    lines = [line for line in said.splitlines() if line.startswith("error: ")]
    return lines[-1].removeprefix("error: ") if lines else f"exit code {process.returncode}"
