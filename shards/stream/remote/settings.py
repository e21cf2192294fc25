"""Where the cache of remote shards lies and how large it may grow."""

import os
import re
from pathlib import Path

from shards.errors import UsageError
from shards.stream.remote.cache import Cache

LIMIT = "100GB"

_UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(KB|MB|GB|TB|)")


def choose_cache(folder: str | None = None, limit: str | None = None) -> Cache:
    """Return the cache that is asked for; what is None comes from the environment, if there.

    Args:
        folder: else `$IVVIT_CACHE`, else `ivvit` in `$XDG_CACHE_HOME` or `~/.cache`.
        limit: as in 500GB; else `$IVVIT_CACHE_LIMIT`, else 100GB.

    Raises:
        UsageError: the limit is no size.
    """
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "ivvit")
    place = folder or os.environ.get("IVVIT_CACHE") or home
    size = limit or os.environ.get("IVVIT_CACHE_LIMIT") or LIMIT
    return Cache(Path(place).expanduser().absolute(), parse_size(size))


def parse_size(text: str) -> int:
    """Return the bytes of a size such as 500GB (10^9 bytes each).

    Raises:
        UsageError: it is none.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"the cache's limit {text!r} is no size", hint="for example 500GB or 2TB")
    return int(float(match[1]) * _UNITS[match[2]])
