"""Who is converting into a folder: a file for each running process, renewed while it lives.

Nothing is locked, as locks are a matter of luck on shared storage: creating a file that was not
there is exclusive on all of it. A holder on this machine is judged by its process; one on another
machine by whether its claim is still renewed, in the time of the file server.
"""

import json
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from shards.convert.parts import ALL
from shards.errors import InputError
from shards.files import open_plain, temporary_path

CLAIM = re.compile(r"\.(\d+-of-\d+|all|finish)\.claim")

PERIOD = 5.0  # seconds between renewals of a claim
SILENCE = 30.0  # seconds without one, after which a holder on another machine is gone
_LOOK = 0.5  # seconds between looks at a claim that may be renewed
_BYTES = 1 << 12  # more than any claim has


@dataclass(frozen=True)
class Holder:
    """A process that converts: which part of which plan (or all, or finish), and where it runs."""

    part: str
    plan: str
    host: str
    machine: str
    process: int
    started: str

    def excludes(self, other: "Holder") -> bool:
        """Return whether the two must not write into one folder at the same time."""
        either_is_all = ALL in (self.part, other.part)
        return either_is_all or self.plan != other.plan or self.part == other.part

    def __str__(self) -> str:
        part = f"part {self.part}" if "/" in self.part else self.part
        return f"{part}, process {self.process} on {self.host}"


@contextmanager
def claim(folder: Path, part: str, plan: str) -> Iterator[None]:
    """Hold a part (or "all", or "finish") of a conversion of `plan`, a digest, into `folder`.

    Raises:
        InputError: a running process has the same part, the whole or another plan.
        OSError: the folder cannot be written to.
    """
    path = folder / f".{part.replace('/', '-of-')}.claim"
    process = os.getpid()
    me = Holder(part, plan, socket.gethostname(), _machine(), process, _started(process))
    text = json.dumps(asdict(me)).encode()
    while not (_create(path, text) and _same(path, text)):
        _bury(path, _refuse(folder, path, me))
    stop = threading.Event()
    renewing = threading.Thread(target=_renew, args=(path, stop), daemon=True)
    renewing.start()
    try:
        for other in _claims(folder):
            if other != path:
                _refuse(folder, other, me)
        yield
    finally:
        stop.set()
        renewing.join()
        if _same(path, text):
            path.unlink(missing_ok=True)


def bury_dead(folder: Path) -> bool:
    """Remove the claims of processes that are gone; return whether none is left."""
    for path in _claims(folder):
        holder = _holder(path)
        if not _may_live(path, holder):
            _bury(path, holder)
    return not _claims(folder)


def _claims(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if CLAIM.fullmatch(path.name)]


def _refuse(folder: Path, path: Path, me: Holder) -> Holder | None:
    """Raise if the claim at `path` excludes mine and its holder lives; wait until that is known.

    Returns:
        whom it was judged by; None if it is gone, or no claim.
    """
    renewed = 0.0
    while holder := _holder(path):
        if not holder.excludes(me) or not _may_live(path, holder):
            break
        seen = _renewed(path)
        if holder.machine == me.machine or renewed not in (0.0, seen):
            raise InputError(
                f"{folder}: another conversion is writing into it: {holder}",
                hint="wait for its end",
            )
        renewed = seen
        time.sleep(_LOOK)
    return holder


def _may_live(path: Path, holder: Holder | None) -> bool:
    """Return whether a claim's holder runs, as far as can be told without waiting."""
    if holder is None:
        return False
    if holder.machine == _machine():
        return bool(holder.started) and _started(holder.process) == holder.started
    return _server_time(path.parent) - _renewed(path) < SILENCE


def _holder(path: Path) -> Holder | None:
    """Return who holds a claim, or None if it is gone; one that is being written is waited for.

    What is no claim at all is as good as gone.
    """
    for _ in range(4):
        try:
            return Holder(**json.loads(_read(path)))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, RecursionError):
            time.sleep(_LOOK / 4)
    return None


def _read(path: Path) -> bytes:
    with open_plain(path) as file:
        return file.read(_BYTES)


def _same(path: Path, text: bytes) -> bool:
    try:
        return _read(path) == text
    except (OSError, ValueError):
        return False


def _create(path: Path, text: bytes) -> bool:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    except FileExistsError:
        return False
    try:
        os.write(descriptor, text)
    except OSError:
        path.unlink()
        raise
    finally:
        os.close(descriptor)
    return True


def _bury(path: Path, dead: Holder | None) -> None:
    """Remove the claim of a dead holder, unless another process has the part by now.

    One at a time: between a second look and the removal nobody else may remove the claim, or it
    could be another one's that is removed.
    """
    burial = path.with_name(f".{path.name}.0.tmp")
    if not _create(burial, b""):
        if _server_time(path.parent) - _renewed(burial) > SILENCE:  # its maker was killed at it
            burial.unlink(missing_ok=True)
        time.sleep(_LOOK / 10)
        return
    try:
        if _holder(path) == dead:
            path.unlink(missing_ok=True)
    finally:
        burial.unlink(missing_ok=True)


def _renew(path: Path, stop: threading.Event) -> None:
    while not stop.wait(PERIOD):
        with suppress(OSError):
            os.utime(path)


def _renewed(path: Path) -> float:
    try:
        with open_plain(path) as file:  # opened, so that a network file system asks its server
            return os.fstat(file.fileno()).st_mtime
    except (OSError, ValueError):
        return 0.0


def _server_time(folder: Path) -> float:
    probe = temporary_path(folder / "probe")
    with probe.open("wb") as file:
        probe.unlink(missing_ok=True)
        return os.fstat(file.fileno()).st_mtime


@cache
def _machine() -> str:
    """Return what tells this machine, and on it this space of process numbers, from all others."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return socket.gethostname()


def _started(process: int) -> str:
    """Return when a process of this machine was started, in its clock ticks; "": it is gone."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    state, started = fields[0], fields[19]
    return "" if state in "ZX" else started
