"""Disks that are full or read-only: one line, nothing half written, and a rerun that goes on."""

import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import layouts
import pytest
from killing import bad_files, sums

from shards.convert.dataset import convert
from shards.convert.parts import WHOLE, Part
from shards.errors import EnvironmentFault

SIZE = 13_000  # bytes of a shard; the pictures below fill eight


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    layouts.imagefolder(tmp_path / "pets", 6)
    return tmp_path / "pets"


@pytest.fixture
def whole(tmp_path: Path, pets: Path) -> dict[str, str]:
    """Return the sums of what an undisturbed conversion writes."""
    convert("imagefolder", pets, tmp_path / "whole", shard_size=SIZE)
    return sums(tmp_path / "whole")


@contextmanager
def file_limit(size: int) -> Iterator[None]:
    """Let no file grow beyond a size: what a full disk does, without one."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def mounted(folder: Path, *options: str) -> Iterator[None]:
    """Mount something on a folder, or skip the test where that is not allowed."""
    folder.mkdir(exist_ok=True)
    if os.geteuid() != 0:
        pytest.skip("only root may mount a file system")
    done = subprocess.run(["mount", *options, str(folder)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("part", [WHOLE, Part(0, 2)], ids=str)
def test_wherever_the_disk_is_full_a_rerun_goes_on(tmp_path, pets, whole, part: Part) -> None:
    out = tmp_path / "out"
    for size in (0, 400, 1_500, 9_000, 10_240, 11_000):
        with file_limit(size), pytest.raises(EnvironmentFault) as fault:
            convert("imagefolder", pets, out, shard_size=SIZE, part=part)
        assert fault.value.message == f"{out}: cannot be written: File too large"
        assert fault.value.hint is not None
        assert bad_files(out, whole) == []
        assert [path.name for path in out.iterdir() if path.name[0] == "."] == []
    convert("imagefolder", pets, out, shard_size=SIZE)
    assert sums(out) == whole


def test_a_disk_that_is_really_full(ivvit_here, tmp_path: Path, pets: Path, whole) -> None:
    command = ("shard", "imagefolder", pets, "-o", tmp_path / "disk/out", "--shard-size", SIZE)
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "size=80k", "tmpfs"):
        done = ivvit_here(*command)
        assert done.code == 4
        errors = [line for line in done.stderr.splitlines() if "error" in line]
        assert errors == [f"error: {tmp_path}/disk/out: cannot be written: No space left on device"]
        out = tmp_path / "disk/out"
        assert bad_files(out, whole) == []
        assert list(out.glob("*.tar"))
        subprocess.run(["mount", "-o", "remount,size=8m", tmp_path / "disk"], check=True)
        assert ivvit_here(*command).code == 0
        assert sums(out) == whole


@pytest.mark.parametrize("finished", [False, True])
def test_a_read_only_target_is_one_line_and_stays(tmp_path, pets, whole, finished: bool) -> None:
    out = tmp_path / "out"
    convert("imagefolder", pets, out, shard_size=SIZE, part=WHOLE if finished else Part(0, 2))
    before = sums(out)
    with mounted(out, "--bind", "-o", "ro", str(out)):
        for options in ({}, {"part": Part(1, 2)}, {"short_side": 10}):
            with pytest.raises(EnvironmentFault, match="out: cannot be written: Read-only file"):
                convert("imagefolder", pets, out, **{"shard_size": SIZE} | options)
        with pytest.raises(EnvironmentFault, match="new: cannot be written: Read-only file"):
            convert("imagefolder", pets, out / "new")
    assert sums(out) == before
    convert("imagefolder", pets, out, shard_size=SIZE)
    assert sums(out) == whole


def test_a_folder_without_permission_is_one_line(tmp_path: Path, pets: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    (tmp_path / "out").mkdir(mode=0o555)
    with pytest.raises(EnvironmentFault, match="out: cannot be written: Permission denied"):
        convert("imagefolder", pets, tmp_path / "out")


def test_a_fault_of_the_callers_own_is_not_worded_as_one_of_the_disk(tmp_path, pets) -> None:
    def write_to_a_closed_terminal(done: int, total: int) -> None:
        if done:
            raise BrokenPipeError(32, "the terminal is gone")

    with pytest.raises(BrokenPipeError, match="the terminal is gone"):
        convert("imagefolder", pets, tmp_path / "out", on_progress=write_to_a_closed_terminal)
    assert list((tmp_path / "out").iterdir()) == []
