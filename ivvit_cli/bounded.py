"""A bound on the memory that reading a hostile file can take."""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ivvit_cli.errors import InputError

_ROOM = 1 << 30  # bytes, for libraries and threads
_TIMES = 3  # the file, a mapping of it, and what is made of it


@contextmanager
def bounded_memory(path: Path) -> Iterator[None]:
    """Let this process take 1 GiB and three times the size of `path`, no more.

    A pickle of forty bytes, or a compressed archive, can ask for any amount.

    Raises:
        InputError: more was asked for; names the file.
    """
    size = path.stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * os.sysconf("SC_PAGE_SIZE") + _TIMES * size + _ROOM
    if soft != resource.RLIM_INFINITY:
        limit = min(limit, soft)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    try:
        yield
    except MemoryError:
        raise InputError(f"{path}: refused: it takes far more memory than its size") from None
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
