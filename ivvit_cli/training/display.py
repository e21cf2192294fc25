"""What the user sees of a training: a live table on a terminal, a line now and then elsewhere."""

import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

from rich import box
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ivvit_cli import console

_TERMINAL_PERIOD = 0.25  # seconds between repaints
_PLAIN_PERIOD = 10.0  # seconds between lines elsewhere and in the log


class Screen:
    """Shows iterations and validations; a context manager, since a live table has to be closed."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._live: Live | None = None
        self._painted = self._said = float("-inf")
        self._pace = 0.0  # seconds per iteration, smoothed
        self._rows: dict[str, Mapping[str, Any]] = {}
        self._scores: dict[str, Mapping[str, Any]] = {}

    def __enter__(self) -> "Screen":
        if console.err.is_terminal and not console.settings.quiet:
            self._live = Live(console=console.err, auto_refresh=False)
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live:
            self._live.stop()

    def iterated(
        self, iteration: int, seconds: float, rows: Sequence[Mapping[str, Any]]
    ) -> str | None:
        """Show the state after an iteration; return the line for the log when one was due."""
        self._pace = 0.9 * self._pace + 0.1 * seconds if self._pace else seconds
        self._rows |= {row["dataset"]: row for row in rows}
        now = time.monotonic()
        if self._live and now - self._painted >= _TERMINAL_PERIOD:
            self._painted = now
            self._live.update(self._table(iteration), refresh=True)
        if now - self._said < _PLAIN_PERIOD and iteration < self._total:
            return None
        self._said = now
        line = self._line(iteration)
        if not self._live:
            console.say(line)
        return line

    def validating(self, iteration: int, line: str) -> None:
        """Show how far a validation is."""
        now = time.monotonic()
        if self._live and now - self._painted >= _TERMINAL_PERIOD:
            self._painted = now
            self._live.update(Group(self._table(iteration), console.clean(line)), refresh=True)
        elif not self._live and now - self._said >= _PLAIN_PERIOD:
            self._said = now
            console.say(line)

    def validated(self, iteration: int, scores: Mapping[str, Mapping[str, Any]]) -> str:
        """Show the results of a validation, and return them as a line for the log."""
        self._scores |= scores
        parts = [
            f"{name} {figures['split']} top-1 {figures['top1']:.2f} % ({figures['protocol']}, "
            f"{figures['samples']} samples)"
            for name, figures in scores.items()
        ]
        line = f"validation after iteration {iteration}: {', '.join(parts)}"
        console.say(line)
        if self._live:
            self._live.update(self._table(iteration), refresh=True)
        return line

    def _left(self, iteration: int) -> str:
        minutes, seconds = divmod(round((self._total - iteration) * self._pace), 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours}:{minutes:02}:{seconds:02}"

    def _line(self, iteration: int) -> str:
        parts = [
            f"{name} loss {_number(row['loss'], '.3f')} top-1 {_number(row['top1'], '.1f')} % "
            f"({row['clips_per_second']:.0f}/s, {row['data_wait']:.0%} waiting)"
            for name, row in self._rows.items()
        ]
        rate = next((f"; lr {row['lr']:.2e}" for row in self._rows.values()), "")
        return (
            f"iteration {iteration}/{self._total}: {', '.join(parts)}{rate}, "
            f"{self._left(iteration)} left"
        )

    def _table(self, iteration: int) -> Table:
        rate = next((row["lr"] for row in self._rows.values()), 0.0)
        title = f"iteration {iteration}/{self._total}, lr {rate:.2e}, {self._left(iteration)} left"
        grid = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
        grid.add_column("dataset")
        for name in ("loss", "top-1 %", "clips/s", "waiting", "validation top-1 %"):
            grid.add_column(name, justify="right")
        for name, row in self._rows.items():
            score = self._scores.get(name, {"top1": None})
            grid.add_row(
                Text(console.clean(name)),
                _number(row["loss"], ".3f"),
                _number(row["top1"], ".1f"),
                f"{row['clips_per_second']:.0f}",
                f"{row['data_wait']:.0%}",
                _number(score["top1"], ".2f"),
            )
        return grid


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
