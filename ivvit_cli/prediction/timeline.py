"""A video's windows as a timeline: what is seen when, in segments."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Moment:
    """A window's start and end in seconds, its top-1 label and the score of that."""

    start: float
    end: float
    label: str
    score: float


@dataclass(frozen=True)
class Segment(Moment):
    """Adjacent windows of one top-1 label; `score` is the mean of theirs."""

    windows: int


def merge(moments: Sequence[Moment]) -> list[Segment]:
    """Merge adjacent windows of the same label.

    Where two windows overlap, their segments meet in the middle of what they share.
    """
    runs: list[list[Moment]] = []
    for moment in moments:
        if runs and runs[-1][-1].label == moment.label:
            runs[-1].append(moment)
        else:
            runs.append([moment])
    befores = [None, *(run[-1] for run in runs)]
    afters = [*(run[0] for run in runs[1:]), None]
    return [
        Segment(
            start=run[0].start if before is None else max(run[0].start, _border(before, run[0])),
            end=run[-1].end if after is None else min(run[-1].end, _border(run[-1], after)),
            label=run[0].label,
            score=sum(moment.score for moment in run) / len(run),
            windows=len(run),
        )
        for before, run, after in zip(befores, runs, afters, strict=False)
    ]


def _border(before: Moment, after: Moment) -> float:
    return (before.end + after.start) / 2


def clock(seconds: float) -> str:
    """Return seconds as m:ss.s, or h:mm:ss.s from an hour on."""
    minutes, tenths = divmod(round(10 * seconds), 600)
    hours, minutes = divmod(minutes, 60)
    tail = f"{tenths // 10:02d}.{tenths % 10}"
    return f"{hours}:{minutes:02d}:{tail}" if hours else f"{minutes}:{tail}"
