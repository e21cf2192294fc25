"""Timing that survives a shared machine: CPU time, rounds interleaved, ratios within a round."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence

import torch


def cpu_seconds(
    tasks: Mapping[str, Callable[[], object]], rounds: int = 5
) -> dict[str, list[float]]:
    """Run every task once per round, in turn, and return the CPU seconds of each run.

    CPU time is that of all threads of the process. One round before counts for nothing.
    """
    torch.set_num_threads(1)
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for number in range(rounds + 1):
        for name, task in tasks.items():
            start = time.process_time()
            task()
            if number:
                seconds[name].append(time.process_time() - start)
    return seconds


def ratio(slow: Sequence[float], fast: Sequence[float]) -> str:
    """Return how many times faster the second is: median over the rounds, and the spread."""
    ratios = [a / b for a, b in zip(slow, fast, strict=True)]
    return f"{statistics.median(ratios):.2f} [{min(ratios):.2f}, {max(ratios):.2f}]"


def print_table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows of text under a title, in columns."""
    table = [list(header), *map(list, rows)]
    widths = [max(len(row[k]) for row in table) for k in range(len(header))]
    print(f"\n{title}")
    for row in table:
        print("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)))


def print_peers(
    title: str,
    seconds: Mapping[str, Sequence[float]],
    count: int,
    targets: Mapping[str, str],
) -> None:
    """Print one row of a benchmark: the first task is ours, the others are those of peers.

    Args:
        title: what is compared.
        seconds: CPU seconds per round of each task.
        count: how many things each task makes.
        targets: of some peers, how many times faster than them ours should be.
    """
    ours, *peers = seconds
    rate = {name: f"{count / statistics.median(times):.4g}" for name, times in seconds.items()}
    rows = [[ours, rate[ours], "", ""]]
    for peer in peers:
        rows.append([peer, rate[peer], ratio(seconds[peer], seconds[ours]), targets.get(peer, "")])
    print_table(title, ["", "per core-second", "ours is faster", "target"], rows)
