"""Conversions on a Ray cluster, of which this machine is the only one."""

import subprocess
import sys
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


ON_RAY = """
import os, sys
from pathlib import Path
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
import ray
from shards.convert.dataset import convert
from shards.errors import InputError

ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
source, out, size = Path("pets"), Path("out"), int(sys.argv[1])
try:
    convert("imagefolder", source, out, engine="ray", shard_size=size, on_bad="fail")
except InputError as error:
    print(error.message, "|", error.hint)
told = []
def on_progress(done, total):
    told.append((done, total))
report = convert("imagefolder", source, out, engine="ray", shard_size=size, on_progress=on_progress)
print(report.written, report.skipped, report.reused < 8, told[0][0], len(set(told[-1])))
assert ray.is_initialized()
"""


@pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed: pip install ivvit[ray]")
def test_a_cluster_writes_the_bytes_that_one_machine_does(tmp_path: Path, pets: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-c", ON_RAY, str(SIZE)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    fault = "val/cat/notes.txt: is not an image of an allowed format"
    hint = "repair or remove it, or use --on-bad skip"
    assert done.stdout.splitlines() == [f"{fault} | {hint}", "24 1 True 0 1"]
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
