"""Conversions that are killed: nothing bad is left, nothing goes on, the next run completes it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import layouts
import pytest

TESTS = Path(__file__).parents[2]


def run_script(*args: object) -> dict[str, object]:
    """Run a script of this folder, which forks, in a process that has no threads."""
    done = subprocess.run(
        [sys.executable, *map(str, args)],
        env=os.environ | {"PYTHONPATH": str(TESTS)},
        stdout=subprocess.PIPE,
        check=True,
        timeout=300,
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize(("parts", "at_once"), [(1, 1), (3, 2)])
def test_kill_9_at_random_moments_leaves_nothing_bad(tmp_path, parts: int, at_once: int) -> None:
    layouts.videofolder(tmp_path / "clips", 3)
    found = run_script(
        Path(__file__).with_name("killing.py"),
        *("videofolder", tmp_path / "clips", "--shard-size", 60_000),
        *("--kills", 8, "--seed", 5, "--parts", parts, "--at-once", at_once),
    )
    assert found["kills"] >= 8
    assert found["bad"] == []
    assert found["equal"]
    assert found["orphans"] < 5  # seconds; an orphan of ffmpeg ends with the pipe it writes to


EVERY_OPERATION = """
import json, os, shutil, signal, sys
from pathlib import Path
import webdataset
from shards.convert.dataset import convert
from shards.convert.parts import parse_part
sys.path.insert(0, sys.argv[3])
from killing import bad_files, sums

source, work = Path(sys.argv[1]), Path(sys.argv[2])
OPERATIONS = {"os.remove", "os.rename", "os.utime", "os.mkdir"}

def changes(event, arguments):
    if event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        return True
    return event in OPERATIONS

def fork(out, parts, last=None):
    child = os.fork()
    if child == 0:
        count = 0
        def kill(event, arguments):
            nonlocal count
            if changes(event, arguments) and str(out) in str(arguments[0]):
                if count == last:
                    os.kill(os.getpid(), signal.SIGKILL)
                count += 1
        sys.addaudithook(kill)
        for part in parts:
            convert("imagefolder", source, out, workers=1, shard_size=13_000, part=parse_part(part))
        os._exit(0)
    return os.waitpid(child, 0)[1]

assert fork(work / "whole", ["all"]) == 0
expected = sums(work / "whole")
found = {"operations": 0, "bad": []}
out, parts, ended = work / "out", ["1/2", "0/2"], False
while not ended:
    shutil.rmtree(out, ignore_errors=True)
    ended = fork(out, parts, found["operations"]) == 0
    found["bad"] += [f"{found['operations']}: {name}" for name in bad_files(out, expected)]
    assert fork(out, parts) == 0
    if sums(out) != expected:
        found["bad"].append(f"{found['operations']}: not as undisturbed")
    found["operations"] += 1
print(json.dumps(found))
"""


def test_killed_before_any_file_operation_it_leaves_nothing_bad(tmp_path: Path) -> None:
    layouts.imagefolder(tmp_path / "pets", 3, ("train",))
    (tmp_path / "pets/train/cat/notes.txt").write_bytes(bytes(13_000))  # a shard without a sample
    here = Path(__file__).parent
    found = run_script("-c", EVERY_OPERATION, tmp_path / "pets", tmp_path, here)
    assert found["bad"] == []
    assert found["operations"] > 30
