"""How long the command line takes to answer: CPU seconds of `--help`, without anything heavy."""

import resource
import statistics
import subprocess
import sys

from bench.paired import print_table

COMMANDS = (["--help"], ["shard", "--help"], ["train", "--help"], ["recipe", "ls"])
ROUNDS = 7
TARGET = 0.4  # seconds of CPU for `ivvit --help`


def main() -> None:
    """Print the CPU time of each command, median and spread, rounds interleaved."""
    seconds: dict[str, list[float]] = {" ".join(command): [] for command in COMMANDS}
    for _ in range(ROUNDS):
        for command in COMMANDS:
            seconds[" ".join(command)].append(cpu_seconds(command))
    rows = [
        [f"ivvit {name}", f"{statistics.median(times):.3f} [{min(times):.3f}, {max(times):.3f}]"]
        for name, times in seconds.items()
    ]
    rows.append(["target for ivvit --help", f"< {TARGET}"])
    print_table(f"start-up, {ROUNDS} rounds", ["", "CPU seconds"], rows)


def cpu_seconds(command: list[str]) -> float:
    """Return the CPU seconds, user and system, of one `ivvit` process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "ivvit_cli", *command], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime - before.ru_utime) + (after.ru_stime - before.ru_stime)
