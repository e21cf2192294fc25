"""The error of one bad item, which is skipped instead of ending a conversion."""

from pathlib import Path

from shards.errors import InputError


class BadMedia(InputError):
    """A file that cannot be converted.

    Args:
        path: the file.
        reason: what is wrong with it, without its path (reasons are stored in shards).
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.reason = reason
