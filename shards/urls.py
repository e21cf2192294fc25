"""What a URL is, and what is none: the one test by which a place is taken to be remote."""

import re
from pathlib import Path

_URL = re.compile(r"[a-z][a-z0-9+.-]*(::[a-z][a-z0-9+.-]*)*://")


def is_url(place: str | Path) -> bool:
    """Tell whether a place is a URL, as in `s3://bucket/folder`, and not a path."""
    return isinstance(place, str) and bool(_URL.match(place))
