"""Which ffmpeg to run: $IVVIT_FFMPEG, else the faster to start of the bundled one and PATH's."""

import os
import re
import shutil
import subprocess
import time
from dataclasses import dataclass
from functools import cache

from shards.errors import EnvironmentFault

OLDEST = (5, 1)  # the first with -fps_mode
_CLEARLY_FASTER = 1.5  # below this the choice could change from one run to the next
_STARTS = 3
_HINT = "pip install imageio-ffmpeg, or point IVVIT_FFMPEG at an ffmpeg of version 5.1 or later"


@dataclass(frozen=True)
class Binary:
    """An ffmpeg that works: its path, its version's text and the seconds it needs to start."""

    path: str
    version: str
    start: float


@cache
def find_ffmpeg() -> Binary:
    """Return the ffmpeg to use; chosen once per process.

    A short clip converts in the time that a distribution's ffmpeg needs to load its libraries, so
    the start-up time decides. The bundled binary wins unless the other is clearly faster.

    Raises:
        EnvironmentFault: there is none, or the one of IVVIT_FFMPEG does not work or is too old.
    """
    named = os.environ.get("IVVIT_FFMPEG")
    if named:
        return _probe(named)
    found = []
    for path in filter(None, (_bundled(), shutil.which("ffmpeg"))):
        try:
            found.append(_probe(path))
        except EnvironmentFault:
            continue
    if not found:
        raise EnvironmentFault("no ffmpeg of version 5.1 or later was found", hint=_HINT)
    best = min(found, key=lambda binary: binary.start)
    return best if best.start * _CLEARLY_FASTER < found[0].start else found[0]


def _bundled() -> str | None:
    import imageio_ffmpeg

    try:
        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError:  # no binary for this platform
        return None


def _probe(path: str) -> Binary:
    times = []
    for _ in range(_STARTS):
        begin = time.perf_counter()
        try:
            done = subprocess.run(
                [path, "-version"], capture_output=True, stdin=subprocess.DEVNULL, timeout=30
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise EnvironmentFault(
                f"{path}: cannot be run as ffmpeg: {error}", hint=_HINT
            ) from None
        times.append(time.perf_counter() - begin)
    match = re.match(rb"ffmpeg version (\S+)", done.stdout)
    if done.returncode or not match:
        raise EnvironmentFault(f"{path}: is not an ffmpeg", hint=_HINT)
    version = match[1].decode()
    _check_version(path, version)
    return Binary(path, version, min(times))


def _check_version(path: str, version: str) -> None:
    numbers = re.match(r"n?(\d+)\.(\d+)", version)  # builds from git carry no number
    if numbers and (int(numbers[1]), int(numbers[2])) < OLDEST:
        raise EnvironmentFault(f"{path}: ffmpeg {version} is older than 5.1", hint=_HINT)
