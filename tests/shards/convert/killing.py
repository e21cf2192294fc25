"""Conversions that are killed at random moments, and what they leave behind.

    PYTHONPATH=tests python tests/shards/convert/killing.py videofolder SRC --kills 200

Children are forked, so that a run costs no import. The moments spread over whole runs; a third of
the runs begin with all shards but one, so that many fall into listing, merging and finishing.
"""

import argparse
import hashlib
import json
import os
import random
import re
import shutil
import signal
import tempfile
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import webdataset  # noqa: F401 (else every child would import it)

from shards.convert.dataset import convert
from shards.convert.parts import WHOLE, Part

NOTE = "parts.json"  # the one file that a finished folder does not have


@dataclass
class Findings:
    """What was seen: `kills` by what was under way, `bad` files, runs that ended by themselves."""

    kills: int = 0
    finished: int = 0
    orphans: float = 0.0  # seconds that the longest orphan went on
    bad: list[str] = field(default_factory=list)
    stages: dict[str, int] = field(default_factory=dict)
    equal: bool = False


@dataclass
class Killer:
    """Converts `source` into a folder beside `work`, again and again, and kills it."""

    layout: str
    source: Path
    work: Path
    options: dict[str, object]
    parts: int = 1
    at_once: int = 1
    seed: int = 0

    def run(self, kills: int) -> Findings:
        """Kill so many times, let the last run end, and compare with an undisturbed one."""
        dice = random.Random(self.seed)
        found = Findings()
        whole, out = self.work / "whole", self.work / "out"
        long = self._seconds(whole)
        short = self._seconds(whole)
        expected = sums(whole)
        while found.kills < kills:
            nearly = dice.random() < 1 / 3
            if nearly:
                copy_but_one(whole, out, dice)
            self._kill_once(out, dice, 2 * short if nearly else long, found)
            found.bad += bad_files(out, expected)
            if (out / "dataset.json").exists():
                found.finished += 1
                found.bad += [name for name in expected if name not in sums(out)]
                shutil.rmtree(out)
        for part in [Part(number, self.parts) for number in range(self.parts)]:
            os.waitpid(self._fork(part, out), 0)
        found.equal = sums(out) == expected
        return found

    def _kill_once(self, out: Path, dice: random.Random, seconds: float, found: Findings) -> None:
        numbers = dice.sample(range(self.parts), self.at_once)
        children = [self._fork(Part(number, self.parts), out) for number in numbers]
        time.sleep(dice.random() * seconds)
        for child in children:
            stage = stage_of(out)
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                assert status == 0
                continue
            if dice.random() < 0.5:
                os.killpg(child, signal.SIGKILL)
            else:
                os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            found.kills += 1
            found.stages[stage] = found.stages.get(stage, 0) + 1
            found.orphans = max(found.orphans, self._outlive(child))

    def _seconds(self, out: Path) -> float:
        start = time.monotonic()
        os.waitpid(self._fork(WHOLE, out), 0)
        return time.monotonic() - start

    def _outlive(self, group: int) -> float:
        """Wait for the end of what a killed process had started, and return the seconds."""
        start = time.monotonic()
        while alive(group):
            time.sleep(0.01)
            assert time.monotonic() - start < 60
        return time.monotonic() - start

    def _fork(self, part: Part, out: Path) -> int:
        child = os.fork()
        if child:
            with suppress(ProcessLookupError):  # it may be a session already
                os.setpgid(child, child)
            return child
        code = 1
        try:
            os.setpgid(0, 0)
            convert(self.layout, self.source, out, part=part, **self.options)  # type: ignore[arg-type]
            code = 0
        finally:
            os._exit(code)


def copy_but_one(whole: Path, out: Path, dice: random.Random) -> None:
    """Make `out` a folder in which one shard is missing, and nothing is merged yet."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    records = sorted(path.stem for path in whole.glob("*-??????.index"))
    records.remove(dice.choice(records))
    for stem in records:
        for path in whole.glob(f"{stem}.*"):
            shutil.copy2(path, out)


def sums(folder: Path) -> dict[str, str]:
    """Return the sha256 of every file, by name, also of hidden ones."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def bad_files(folder: Path, expected: dict[str, str]) -> list[str]:
    """Return the visible files that are not those of an undisturbed run, byte for byte."""
    found = sums(folder) if folder.is_dir() else {}
    return [
        name
        for name, digest in found.items()
        if name[0] != "." and name != NOTE and digest != expected.get(name)
    ]


def stage_of(out: Path) -> str:
    """Return how far a run is, by what there is in its folder."""
    names = {path.name for path in out.iterdir()} if out.is_dir() else set()
    if not any(name.endswith(".claim") for name in names):
        return "finished" if "dataset.json" in names else "listing"
    if any(re.search(r"^\.?(skipped|dataset|.*-(train|val|test)\.index)", name) for name in names):
        return "finishing"
    return "shards"


def alive(group: int) -> bool:
    """Return whether any process of a group runs."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, in_group = path.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(in_group) == group and state not in "ZX":
            return True
    return False


def main() -> None:
    """Kill as often as asked, and print what was found."""
    parser = argparse.ArgumentParser()
    parser.add_argument("layout")
    parser.add_argument("source", type=Path)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--parts", type=int, default=1)
    parser.add_argument("--at-once", type=int, default=1)
    parser.add_argument("--shard-size", type=int, default=1 << 20)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    options = {"shard_size": args.shard_size, "workers": 2}
    with tempfile.TemporaryDirectory() as work:
        killer = Killer(
            args.layout, args.source, Path(work), options, args.parts, args.at_once, args.seed
        )
        print(json.dumps(asdict(killer.run(args.kills))))


if __name__ == "__main__":
    main()
