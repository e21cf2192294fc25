"""Traps for hostile input: what a command must not touch, and how much it may take.

Every detector has a positive control in test_hostile_detectors.py: it goes off when what it guards
is touched without our guards.
"""

import ctypes
import ctypes.util
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from conftest import clean_environment
from media import make_frames, write_video

SECRET = b"TOP-SECRET-5f0a1b"
MEMORY = 1 << 30  # bytes resident in the largest process; torch alone takes 0.5 GB
SECONDS = 60.0

# A process's peak counts what its parent had resident when it was forked, so the parent is small.
_WATCHER = """
import os, sys
child = os.fork()
if not child:
    os.execvp(sys.argv[2], sys.argv[2:])
_, status, usage = os.wait4(child, 0)
with open(sys.argv[1], "w") as file:
    file.write(f"{os.waitstatus_to_exitcode(status)} {usage.ru_maxrss}")
"""
_BATCH = """
import contextlib, io, json, sys
from ivvit_cli import app, console
with open(sys.argv[1]) as file:
    commands = json.load(file)
results = {}
for name, words in commands.items():
    out, err = io.StringIO(), io.StringIO()
    console.settings = console.Settings()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = app.run(words)
    results[name] = [code, out.getvalue(), err.getvalue()]
    with open(sys.argv[2], "w") as file:
        json.dump(results, file)
"""
_IN_OPEN, _IN_NONBLOCK = 0x20, os.O_NONBLOCK
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\udc80-\udcff]")


@dataclass(frozen=True)
class Outcome:
    """What a command left behind, and what it took."""

    code: int
    stdout: str
    stderr: str
    seconds: float
    memory: int  # bytes resident, of the largest of its processes

    @property
    def printed(self) -> str:
        """Return both streams."""
        return self.stdout + self.stderr


class Traps:
    """A canary, two secrets, and a server; `folder` is outside of all that a command is given."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.canary = folder / "canary"
        self.text = folder / "secret.txt"
        self.text.write_bytes(SECRET)
        self.video = write_video(folder / "secret.avi", make_frames(3))
        self.victim = folder / "victim"
        self.victim.write_bytes(b"as it was")
        self.connections = 0
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._server.getsockname()[1]}/secret.avi"
        threading.Thread(target=self._accept, daemon=True).start()
        self._opened = _Opened((self.text, self.video))

    def _accept(self) -> None:
        while True:
            try:
                peer, _ = self._server.accept()
            except OSError:  # closed
                return
            self.connections += 1
            peer.close()

    def sprung(self, *outputs: Path) -> set[str]:
        """Return which traps went off; `outputs` are folders that a command has written."""
        found = {
            "code ran": self.canary.exists(),
            "another file was opened": self._opened.any(),
            "another file was copied": any(SECRET in content for content in _contents(outputs)),
            "a connection was made": self.connections > 0,
            "another file was changed": self.victim.read_bytes() != b"as it was",
        }
        return {name for name, happened in found.items() if happened}

    def close(self) -> None:
        """Stop the server and the watch."""
        self._server.close()
        self._opened.close()


class _Opened:
    """Whether any process has opened one of some files, by Linux's inotify."""

    def __init__(self, paths: Sequence[Path]) -> None:
        libc = ctypes.CDLL(ctypes.util.find_library("c"), use_errno=True)
        self._descriptor = libc.inotify_init1(_IN_NONBLOCK)
        for path in paths:
            if libc.inotify_add_watch(self._descriptor, os.fsencode(path), _IN_OPEN) < 0:
                raise OSError(ctypes.get_errno(), "inotify_add_watch", str(path))

    def any(self) -> bool:
        try:
            return bool(os.read(self._descriptor, 1 << 16))
        except BlockingIOError:
            return False

    def close(self) -> None:
        os.close(self._descriptor)


def _contents(folders: Sequence[Path]) -> Iterator[bytes]:
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_file() and not path.is_symlink():
                yield path.read_bytes()


@contextmanager
def traps(folder: Path) -> Iterator[Traps]:
    """Set the traps in `folder / "outside"`."""
    folder.joinpath("outside").mkdir()
    trap = Traps(folder / "outside")
    try:
        yield trap
    finally:
        trap.close()


def run_command(*command: str | Path, cwd: Path, seconds: float = SECONDS) -> Outcome:
    """Run a program, killed after `seconds` with exit code -9, and tell what it took."""
    usage = cwd / ".usage"
    usage.write_text("-9 0")
    begin = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _WATCHER, usage, *map(os.fsencode, command)],
        cwd=cwd,
        env=clean_environment() | {"OMP_NUM_THREADS": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        streams = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        streams = process.communicate()
    took = time.monotonic() - begin
    code, kilobytes = map(int, usage.read_text().split())
    texts = [stream.decode(errors="surrogateescape") for stream in streams]
    return Outcome(code, texts[0], texts[1], took, kilobytes << 10)


def run_ivvit(*args: str | Path, cwd: Path, seconds: float = SECONDS) -> Outcome:
    """Run `ivvit ARGS…` as a user does."""
    return run_command(sys.executable, "-m", "ivvit_cli", *args, cwd=cwd, seconds=seconds)


def run_batch(commands: Mapping[str, Sequence[object]], cwd: Path) -> dict[str, Outcome]:
    """Run `ivvit ARGS…` for each name, one after another in one process: its start costs most.

    Memory is the peak of them all, and an exit code of -9 that of a process that had to be killed.
    """
    plan, results = cwd / ".plan", cwd / ".results"
    texts = {name: [os.fsdecode(str(word)) for word in words] for name, words in commands.items()}
    plan.write_text(json.dumps(texts))
    results.write_text("{}")
    whole = run_command(sys.executable, "-c", _BATCH, plan, results, cwd=cwd, seconds=2 * SECONDS)
    done = json.loads(results.read_text())
    lost = [-9, "", f"the process ended with {whole.code}: {whole.stderr[-300:]}"]
    return {
        name: Outcome(*done.get(name, lost), seconds=whole.seconds, memory=whole.memory)
        for name in commands
    }


def left_out(folder: Path) -> dict[str, str]:
    """Return the reasons in a folder's skipped.jsonl, by the last part of the source."""
    rows = map(json.loads, (folder / "skipped.jsonl").read_text().splitlines())
    return {row["source"].rpartition("/")[2]: row["reason"] for row in rows}


def faults(
    outcome: Outcome, memory: int = MEMORY, codes: Sequence[int] = (0, 1, 2, 3)
) -> list[str]:
    """Return what a command did that no input may make it do; `codes` are the exits allowed."""
    found = []
    if outcome.code not in codes:
        found.append(f"exit code {outcome.code}: {outcome.stderr[-400:]}")
    if "internal:" in outcome.stderr or "Traceback" in outcome.stderr:
        found.append(f"a crash: {outcome.stderr[-400:]}")
    if outcome.memory > memory:
        found.append(f"{outcome.memory >> 20} MiB resident")
    if control := _CONTROL.search(outcome.printed):
        found.append(f"{control[0]!r} in {outcome.printed[max(0, control.start() - 60) :][:120]!r}")
    if SECRET.decode() in outcome.printed:
        found.append("the secret was printed")
    return found
