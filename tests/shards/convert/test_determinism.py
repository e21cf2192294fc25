"""The same files give the same bytes, whatever converts them, in whatever order they lie."""

import os
import random
import shutil
from pathlib import Path

import layouts
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from killing import sums
from media import make_frames, write_image

from shards.convert.dataset import convert
from shards.convert.parts import Part

EXAMPLES = settings(
    derandomize=True,
    deadline=None,
    max_examples=12,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture(scope="module", params=["imagefolder", "frames"])
def dataset(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    """Return a layout, its folder, options, and the sums of an undivided conversion."""
    folder = tmp_path_factory.mktemp(request.param)
    source, options = folder / "source", {"shard_size": 13_000}
    if request.param == "imagefolder":
        layouts.imagefolder(source)
        (source / "val/dog/notes.txt").write_text("no image")
    else:
        options["fps"] = 10.0
        for number in range(5):
            for place, frame in enumerate(make_frames(3 + number, 24, 32, seed=number)):
                write_image(source / f"{number}/{place}.jpg", frame, quality=10 + 12 * place)
        (source / "train.txt").write_text("".join(f"{n} {3 + n} {n % 2}\n" for n in range(5)))
    convert(request.param, source, folder / "whole", **options)
    return request.param, source, options, sums(folder / "whole")


@EXAMPLES
@given(workers=st.integers(1, 4), parts=st.integers(1, 9), seed=st.integers(0, 99))
def test_workers_parts_and_the_order_of_folders_change_nothing(
    dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int, parts: int, seed: int
) -> None:
    layout, source, options, expected = dataset
    out = tmp_path / "out"
    shutil.rmtree(out, ignore_errors=True)
    dice = random.Random(seed)
    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", lambda *args: Shuffled(os_scandir(*args), dice))
        patch.setattr(
            os, "listdir", lambda *args: dice.sample(found := os_listdir(*args), len(found))
        )
        for number in dice.sample(range(parts), parts):
            part = Part(number, parts)
            convert(layout, source, out, workers=workers, part=part, **options)
    assert sums(out) == expected


os_scandir, os_listdir = os.scandir, os.listdir


class Shuffled:
    """What `os.scandir` found, in another order: a file system may have any."""

    def __init__(self, found, dice: random.Random) -> None:
        self.found, self.dice = found, dice

    def __enter__(self) -> "Shuffled":
        return self

    def __exit__(self, *_: object) -> None:
        self.found.close()

    def __iter__(self):
        return iter(shuffled(self.found, self.dice))


def shuffled(found, dice: random.Random) -> list:
    entries = list(found)
    dice.shuffle(entries)
    return entries
