"""Where trainings are disturbed: datasets, undisturbed runs, and what differs from them."""

import random
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tiny_runs import make_shards, write_films, write_pictures
from training_fixtures import RECIPE
from workers import launch, outcome, train, wait

LONG = ("schedule.iterations=40", "eval.every=20")


class Lab:
    """Datasets, a recipe, and the outcomes of undisturbed runs, below one folder."""

    def __init__(self, root: Path, seed: int) -> None:
        self.root, self.dice = root, random.Random(seed)
        for split, count in (("train", 6), ("val", 2)):
            write_pictures(root / "raw-pictures", ["ant", "bee", "cat"], count, split=split)
            write_films(root / "raw-films", ["run", "sit"], count, split=split)
        make_shards("imagefolder", root / "raw-pictures", root / "pictures")
        make_shards("videofolder", root / "raw-films", root / "films")
        self.recipe = root / "tiny.yaml"
        self.recipe.write_text(RECIPE.format(root=root))
        start = time.monotonic()
        assert wait(launch(train, self.recipe, root / "long", *LONG)) == [0]
        self.seconds = time.monotonic() - start
        assert wait(launch(train, self.recipe, root / "short")) == [0]
        self.long, self.short = outcome(root / "long"), outcome(root / "short")

    def fresh(self, name: str = "run") -> Path:
        """Return the place of a run that is not there."""
        run = self.root / name
        shutil.rmtree(run, ignore_errors=True)
        return run


def compare(run: Path, expected: dict, what: str, but: str = "") -> list[str]:
    """Name what differs of a finished run."""
    try:
        got = outcome(run)
    except Exception as error:  # a fault of the run, to be counted
        return [f"{what}: {type(error).__name__}: {error}"]
    return [f"{what}: other {key}" for key in got if key != but and got[key] != expected[key]]


def said(run: Path, having: str = "") -> str:
    """Return the last lines of a run's stderr."""
    file = run.with_suffix(".err")
    lines = file.read_text().splitlines() if file.exists() else []
    return " | ".join([line for line in lines if having in line][-3:])


@contextmanager
def disk(place: Path, kilobytes: int) -> Iterator[Path]:
    """Mount a file system of so many kilobytes in memory."""
    place.mkdir(exist_ok=True)
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(place)], check=True
    )
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)
