"""What the user sees: stdout carries the result, stderr everything else."""

import io
import json
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

from rich import box
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress
from rich.table import Table
from rich.text import Text

from ivvit_cli.fitting import fit

out = Console(highlight=False, markup=False, emoji=False)
err = Console(stderr=True, highlight=False, markup=False, emoji=False)

PIPE_WIDTH = 10_000  # columns: a table on a pipe is never folded
PLAIN_PERIOD = 5.0  # seconds between progress lines off a terminal


@dataclass
class Settings:
    """What the global options of `ivvit` ask for."""

    quiet: bool = False
    verbose: bool = False


settings = Settings()


def clean(text: object) -> str:
    """Return text from a file or its name as one harmless line: every unprintable is escaped."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in str(text)
    )


def say(text: str) -> None:
    """Write a line to stderr, unless the user asked for quiet."""
    if not settings.quiet:
        _line("", "", text)


def warn(text: str) -> None:
    """Write a warning to stderr, also when the user asked for quiet."""
    _line("warning: ", "yellow", text)


def fail(message: str, hint: str | None = None) -> None:
    """Write an error to stderr."""
    _line("error: ", "bold red", message)
    if hint:
        _line("hint: ", "cyan", hint)


def next_step(command: str) -> None:
    """Suggest the command that usually follows, on stderr."""
    if not settings.quiet:
        _line("next: ", "green", command)


def _line(prefix: str, style: str, text: str) -> None:
    err.print(Text.assemble((prefix, style), clean(text)), soft_wrap=True)


def print_json(document: Any) -> None:
    """Write the one JSON document of a command to stdout.

    Raises:
        ValueError: the document holds a number that JSON lacks (NaN, an infinity).
    """
    print_text(json.dumps(document, indent=2, allow_nan=False))


def print_line(text: str) -> None:
    """Write a line to stdout at once, for whoever reads the pipe."""
    print(text, flush=True)


def print_text(text: str) -> None:
    """Write text to stdout as it is."""
    print(text.removesuffix("\n"))


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table to stdout: with rules on a terminal, bare aligned columns on a pipe.

    A terminal gets no column without a cell, and cells folded to its width.
    """
    rows = [list(row) for row in rows]
    shown = [["" if cell is None else clean(cell) for cell in row] for row in rows]
    sparing = out.is_terminal and bool(rows)
    kept = [n for n in range(len(columns)) if not sparing or any(row[n] for row in shown)]
    grid = Table(pad_edge=False, box=box.SIMPLE_HEAD if out.is_terminal else None)
    for n in kept:
        numeric = bool(rows) and all(isinstance(row[n], int | float | None) for row in rows)
        grid.add_column(Text(columns[n]), justify="right" if numeric else "left", overflow="fold")
    for row in shown:
        grid.add_row(*(Text(row[n]) for n in kept))
    if out.is_terminal:
        _fold(grid, [[columns[n], *(row[n] for row in shown)] for n in kept])
        out.print(Text(title, "bold"), grid)
        return
    pipe = Console(file=io.StringIO(), width=PIPE_WIDTH)
    with pipe.capture() as capture:
        pipe.print(grid)
    print_text("\n".join(line.rstrip() for line in capture.get().splitlines()))


def _fold(grid: Table, columns: Sequence[Sequence[str]]) -> None:
    """Where the terminal is too narrow for a table, close its columns up and fold their cells."""
    if grid.__rich_measure__(out, out.options.update(max_width=PIPE_WIDTH)).maximum <= out.width:
        return
    grid.collapse_padding = True
    room = out.width - 2 * len(columns)  # two blanks between columns, one at either edge
    for column, width in zip(grid.columns, fit(columns, room), strict=True):
        column.width = width


class Progress(Protocol):
    """What `progress` hands out."""

    def advance(self, n: int = 1, total: int | None = None) -> None:
        """Count `n` more units as done, of `total` where only the work itself tells."""


@contextmanager
def progress(description: str, total: int | None, unit: str) -> Iterator[Progress]:
    """Show how far a long piece of work is, on stderr.

    A bar with rate and time left on a terminal, a plain line every few seconds elsewhere, nothing
    when the user asked for quiet.
    """
    if not err.is_terminal or settings.quiet:
        yield _Lines(clean(description), total, unit)
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(unit),
        TimeRemainingColumn(),
    )
    # Rich would take what is printed to stdout meanwhile for its own, and write it to stderr.
    with RichProgress(*columns, console=err, transient=True, redirect_stdout=False) as bar:
        yield _Bar(bar, bar.add_task(clean(description), total=total))


class _Rate(ProgressColumn):
    def __init__(self, unit: str) -> None:
        super().__init__()
        self.unit = unit

    def render(self, task: Task) -> Text:
        """Return the speed in units per second."""
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.1f} {self.unit}/s" if speed else f"- {self.unit}/s", "cyan")


@dataclass
class _Bar:
    bar: RichProgress
    task: Any

    def advance(self, n: int = 1, total: int | None = None) -> None:
        """Move the bar."""
        self.bar.update(self.task, advance=n, total=total)


class _Lines:
    def __init__(self, description: str, total: int | None, unit: str) -> None:
        self.description, self.total, self.unit = description, total, unit
        self.done = 0
        self.start = self.said = time.monotonic()

    def advance(self, n: int = 1, total: int | None = None) -> None:
        """Write a line when the last one is old enough."""
        self.done += n
        self.total = total or self.total
        now = time.monotonic()
        if now - self.said >= PLAIN_PERIOD:
            self.said = now
            say(self._text(self.done / (now - self.start)))

    def _text(self, rate: float) -> str:
        if self.total is None:
            return f"{self.description}: {self.done} {self.unit}, {rate:.1f} {self.unit}/s"
        left = timedelta(seconds=round(max(self.total - self.done, 0) / rate))
        return (
            f"{self.description}: {self.done}/{self.total} {self.unit}, "
            f"{rate:.1f} {self.unit}/s, {left} left"
        )
