"""Conversions on a Ray cluster, of which this machine is the only one."""

from importlib.util import find_spec
from pathlib import Path

import layouts
import pytest
from killing import sums

from shards.convert.dataset import convert

SIZE = 13_000


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    layouts.imagefolder(tmp_path / "pets", 6)
    (tmp_path / "pets/val/cat/notes.txt").write_text("no image")
    return tmp_path / "pets"


@pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed: pip install ivvit[ray]")
def test_a_cluster_writes_the_bytes_that_one_machine_does(ivvit, tmp_path, pets: Path) -> None:
    command = ("shard", "imagefolder", "pets", "-o", "out", "--shard-size", SIZE, "--workers", 2)
    strict = ivvit(*command, "--engine", "ray", "--on-bad", "fail")
    assert strict.code == 3
    assert "error: val/cat/notes.txt: is not an image of an allowed format\n" in strict.stderr
    done = ivvit(*command, "--engine", "ray")
    assert done.code == 0, done.stderr
    assert "25 listed, 0 missing, 1 skipped, 24 written to out" in done.stderr
    assert "Traceback" not in strict.stderr + done.stderr
    convert("imagefolder", pets, tmp_path / "here", shard_size=SIZE)
    assert sums(tmp_path / "out") == sums(tmp_path / "here")


def test_without_ray_it_says_how_to_get_it(ivvit, tmp_path: Path, pets: Path) -> None:
    (tmp_path / "none").mkdir()
    (tmp_path / "none/ray.py").write_text("raise ImportError('as if it were not installed')")
    environment = {"PYTHONPATH": str(tmp_path / "none")}
    done = ivvit("shard", "imagefolder", "pets", "-o", "out", "--engine", "ray", env=environment)
    assert done.code == 4
    assert "error: the engine ray needs the package ray\nhint: pip install 'ivvit[ray]'\n" in (
        done.stderr
    )
    assert list((tmp_path / "out").iterdir()) == []
