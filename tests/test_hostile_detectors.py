"""The traps of hostile.py go off when what they guard is touched: without our guards, it is."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from hostile import SECONDS, Traps, faults, run_command, traps
from hostile_files import Payload, concat_script, external_track, hls_playlist
from media import run_ffmpeg

from shards.convert.ffmpeg import find_ffmpeg


@pytest.fixture
def trap(tmp_path: Path):
    with traps(tmp_path) as set_traps:
        yield set_traps


def test_nothing_goes_off_by_itself(trap: Traps, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/file").write_bytes(b"nothing")
    assert trap.sprung(tmp_path / "out") == set()


@pytest.mark.parametrize("reader", ["pickle", "numpy", "yaml", "shell"])
def test_code_that_runs_leaves_the_canary(trap: Traps, tmp_path: Path, reader: str) -> None:
    path = tmp_path / "payload"
    if reader == "pickle":
        pickle.loads(pickle.dumps(Payload(trap.canary)))
    elif reader == "numpy":
        np.save(tmp_path / "a.npy", np.array([Payload(trap.canary)], dtype=object))
        np.load(tmp_path / "a.npy", allow_pickle=True)
    elif reader == "yaml":
        yaml.unsafe_load(f"!!python/object/apply:os.mkdir ['{trap.canary}']")
    else:
        subprocess.run(f"pipe: mkdir {trap.canary}".removeprefix("pipe:"), shell=True, check=True)
    assert trap.sprung(path) == {"code ran"}


@pytest.mark.parametrize("script", [concat_script, hls_playlist])
def test_a_plain_ffmpeg_reads_the_other_file(trap: Traps, tmp_path: Path, script) -> None:
    path = tmp_path / "evil.mp4"
    path.write_text(script(trap.video))
    options = ("-safe", "0") if script is concat_script else ("-allowed_extensions", "ALL")
    form = ("-f", "hls", "-extension_picky", "0") if script is hls_playlist else ()
    run_ffmpeg(*form, *options, "-i", str(path), "-f", "null", "-")
    assert trap.sprung() == {"another file was opened"}


def test_a_plain_ffmpeg_opens_an_external_track(trap: Traps, tmp_path: Path) -> None:
    path = external_track(tmp_path / "evil.mov", trap.video)
    options = ("-enable_drefs", "1", "-use_absolute_path", "1")
    command = [find_ffmpeg().path, *options, "-i", str(path), "-f", "null", "-"]
    subprocess.run(command, capture_output=True)
    assert trap.sprung() == {"another file was opened"}


def test_a_plain_ffmpeg_connects_to_the_server(trap: Traps, tmp_path: Path) -> None:
    path = tmp_path / "evil.mp4"
    path.write_text(concat_script(trap.url))
    options = ("-safe", "0", "-protocol_whitelist", "file,http,tcp")
    command = [find_ffmpeg().path, *options, "-i", str(path), "-f", "null", "-"]
    subprocess.run(command, capture_output=True)
    assert trap.sprung() == {"a connection was made"}


def test_a_copied_secret_and_a_changed_file_are_found(trap: Traps, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "copy").write_bytes(b"..." + trap.text.read_bytes())
    (out / "link").symlink_to(trap.victim)
    (out / "link").write_bytes(b"other")
    names = {"another file was copied", "another file was opened", "another file was changed"}
    assert trap.sprung(out) == names


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        ("bytearray(250 << 20)", "MiB resident"),
        ("import subprocess, sys\nsubprocess.run([sys.executable, '-c', 'bytearray(250 << 20)'])",
         "MiB resident"),
        ("import time; time.sleep(60)", "exit code -9"),
        ("open('pipe').read()", "exit code -9"),
        ("print('\\x1b[31mred')", "in '"),
        ("import sys; sys.stderr.buffer.write(b'\\xff')", "in '"),
        ("print('a\\rb')", "in '"),
        ("print('\\u202egnp.exe')", "in '"),
        ("print('TOP-SECRET-5f0a1b')", "the secret was printed"),
        ("raise ValueError", "a crash"),
        ("import os; os.abort()", "exit code -6"),
    ],
)  # fmt: skip
def test_what_a_command_may_not_do_is_found(tmp_path: Path, code: str, fault: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    patience = 1 if fault == "exit code -9" else SECONDS
    outcome = run_command(sys.executable, "-c", code, cwd=tmp_path, seconds=patience)
    assert any(fault in found for found in faults(outcome, memory=200 << 20))


def test_a_command_that_does_none_of_it_is_not_accused(tmp_path: Path) -> None:
    code = "import sys; print('né\\tü\\n'); bytearray(100 << 20); sys.exit(3)"
    outcome = run_command(sys.executable, "-c", code, cwd=tmp_path)
    assert faults(outcome) == []
    assert (outcome.code, outcome.stderr) == (3, "")
    assert outcome.memory > 100 << 20
