"""What goes wrong with one item, which is skipped, or with a folder that is not complete."""

from collections.abc import Sequence
from pathlib import Path

from shards.errors import InputError, IvvitError


class BadMedia(InputError):
    """A file that cannot be converted.

    Args:
        path: the file.
        reason: what is wrong with it, without its path (reasons are stored in shards).
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.reason = reason


class ShardsMissing(IvvitError):
    """A folder that cannot be finished yet.

    Args:
        folder: the folder of shards.
        missing: the places of the missing shards in the plan, in order.
        names: their files.
        total: how many shards there should be.
    """

    def __init__(
        self, folder: Path, missing: tuple[int, ...], names: Sequence[str], total: int
    ) -> None:
        few = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
        super().__init__(f"{folder}: {len(missing)} of {total} shards are missing: {few}")
        self.missing = missing
