"""Which ffmpeg runs: the named one, else the fastest, and never one that is too old."""

import os
from pathlib import Path

import pytest

from shards.convert.ffmpeg import find_ffmpeg
from shards.errors import EnvironmentFault


@pytest.fixture(autouse=True)
def fresh_choice(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("IVVIT_FFMPEG", raising=False)
    find_ffmpeg.cache_clear()
    yield
    find_ffmpeg.cache_clear()


def script(path: Path, version: str, sleep: float = 0.0) -> Path:
    path.write_text(f"#!/bin/sh\nsleep {sleep}\necho 'ffmpeg version {version} Copyright'\n")
    path.chmod(0o755)
    return path


def test_the_bundled_one_wins_against_a_slower_one(tmp_path, monkeypatch) -> None:
    script(tmp_path / "ffmpeg", "7.0", sleep=0.3)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert "imageio_ffmpeg" in find_ffmpeg().path


def test_a_clearly_faster_one_on_the_path_wins(tmp_path, monkeypatch) -> None:
    slow = script(tmp_path / "slow", "7.0", sleep=0.3)
    fast = script(tmp_path / "ffmpeg", "6.1")
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(slow))  # what imageio-ffmpeg then hands out
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert find_ffmpeg().path == str(fast)
    assert find_ffmpeg().version == "6.1"


def test_the_named_one_is_used_whatever_else_there_is(tmp_path, monkeypatch) -> None:
    named = script(tmp_path / "mine", "n9.0-7-gabc", sleep=0.2)
    monkeypatch.setenv("IVVIT_FFMPEG", str(named))
    assert find_ffmpeg().path == str(named)


@pytest.mark.parametrize(
    ("version", "works"),
    [("4.4.2", False), ("5.0", False), ("5.1.9-0+deb12u1", True), ("N-1", True)],
)
def test_versions_before_5_1_are_refused(tmp_path, monkeypatch, version: str, works: bool) -> None:
    monkeypatch.setenv("IVVIT_FFMPEG", str(script(tmp_path / "ffmpeg", version)))
    if works:
        assert find_ffmpeg().version == version
    else:
        with pytest.raises(EnvironmentFault, match=r"older than 5\.1"):
            find_ffmpeg()


def test_a_named_one_that_does_not_run_is_one_clear_error(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("IVVIT_FFMPEG", str(tmp_path / "none"))
    with pytest.raises(EnvironmentFault, match="cannot be run as ffmpeg"):
        find_ffmpeg()
    monkeypatch.setenv("IVVIT_FFMPEG", "/bin/true")
    with pytest.raises(EnvironmentFault, match="is not an ffmpeg"):
        find_ffmpeg()
