"""A subprocess with bounds on its time, memory and output."""

import os
import resource
import select
import subprocess
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import IO

from shards.errors import EnvironmentFault

_CHUNK = 1 << 20
_LOG_BYTES = 64 << 20  # what a process may write to its two log files


@dataclass(frozen=True)
class Limits:
    """What a subprocess may use: wall-clock seconds, bytes of memory, bytes on stdout."""

    seconds: float = 300.0
    memory: int = 4 << 30
    output: int = 1 << 30


@dataclass(frozen=True)
class Finished:
    """What a subprocess left behind; `side` is what it wrote to the extra descriptor."""

    code: int
    output: bytes
    errors: str
    side: bytes


class LimitExceeded(Exception):
    """A subprocess was ended because it needed more than its limits allow."""


def run_bounded(command: Callable[[int], list[str]], limits: Limits) -> Finished:
    """Run `command(descriptor)`, where the descriptor is a file for the process to write to.

    Only stdout is a pipe, so one thread can read it without a deadlock. The limits are set on the
    running child: code between fork and exec is not safe in a process with threads.

    Raises:
        LimitExceeded: the process ran too long or wrote too much; it was killed.
        EnvironmentFault: the machine cannot run it at all.
    """
    try:
        return _run(command, limits)
    except OSError as error:
        raise EnvironmentFault(f"a process cannot be run: {error}") from None


def stream_bounded(
    command: list[str], limits: Limits, check: Callable[[Finished], object]
) -> Generator[bytes, None, None]:
    """Run a process and yield what it writes to stdout, as it comes; then `check` what is left.

    `limits.seconds` bounds each wait for output, and not the sum of them; `limits.output` nothing.
    The process is killed when the iterator is closed.

    Raises:
        LimitExceeded: the process wrote nothing for too long; it was killed.
        EnvironmentFault: the machine cannot run it at all.
    """
    with _log() as errors:
        try:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors
            )
        except OSError as error:
            raise EnvironmentFault(f"a process cannot be run: {error}") from None
        with process:
            try:
                _limit_memory(process.pid, limits)
                yield from _chunks(process, limits)
            finally:
                process.kill()  # no effect on a process that has ended and was waited for
        check(Finished(process.returncode, b"", _content(errors).decode(errors="replace"), b""))


def _chunks(process: subprocess.Popen[bytes], limits: Limits) -> Iterator[bytes]:
    assert process.stdout is not None
    descriptor = process.stdout.fileno()
    poll = _poll(descriptor)
    while chunk := _read_chunk(poll, descriptor, limits.seconds, limits):
        yield chunk
    _wait(process, limits.seconds, limits)


def _run(command: Callable[[int], list[str]], limits: Limits) -> Finished:
    with _log() as errors, _log() as side:
        process = subprocess.Popen(
            command(side.fileno()),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            pass_fds=[side.fileno()],
        )
        with process:
            try:
                output = _collect(process, limits)
            finally:
                process.kill()  # no effect on a process that has ended and was waited for
        return Finished(
            process.returncode, output, _content(errors).decode(errors="replace"), _content(side)
        )


def _collect(process: subprocess.Popen[bytes], limits: Limits) -> bytes:
    deadline = time.monotonic() + limits.seconds
    _limit_memory(process.pid, limits)
    assert process.stdout is not None
    output = _read(process.stdout.fileno(), deadline, limits)
    _wait(process, max(0.0, deadline - time.monotonic()), limits)
    return output


def _wait(process: subprocess.Popen[bytes], seconds: float, limits: Limits) -> None:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        raise LimitExceeded(f"needed more than {limits.seconds:g} s") from None


def _limit_memory(pid: int, limits: Limits) -> None:
    _limit(pid, resource.RLIMIT_AS, limits.memory)
    _limit(pid, resource.RLIMIT_FSIZE, _LOG_BYTES)


def _limit(pid: int, kind: int, wanted: int) -> None:
    hard = resource.prlimit(pid, kind)[1]  # may be lowered, never raised
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.prlimit(pid, kind, (limit, limit))


def _read(descriptor: int, deadline: float, limits: Limits) -> bytes:
    poll = _poll(descriptor)
    output = bytearray()
    while chunk := _read_chunk(poll, descriptor, deadline - time.monotonic(), limits):
        output += chunk
        if len(output) > limits.output:
            raise LimitExceeded(f"gave more than {limits.output >> 20} MiB of frames")
    return bytes(output)


def _poll(descriptor: int) -> select.poll:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return poll


def _read_chunk(poll: select.poll, descriptor: int, seconds: float, limits: Limits) -> bytes:
    """Return what comes within `seconds`; nothing at the end."""
    if seconds <= 0 or not poll.poll(seconds * 1000):
        raise LimitExceeded(f"needed more than {limits.seconds:g} s")
    return os.read(descriptor, _CHUNK)


def _log() -> IO[bytes]:
    """Open a file in memory: on a full disk, what a process writes would be lost in silence."""
    return os.fdopen(os.memfd_create("log"), "w+b")


def _content(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read()
