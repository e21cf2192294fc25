"""What goes wrong with one item, which is skipped, or with a folder that is not complete."""

import errno
from collections.abc import Sequence
from pathlib import Path

from shards.errors import EnvironmentFault, InputError, IvvitError

_OF_THE_MACHINE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC, errno.EDQUOT)


class BadMedia(InputError):
    """A file that cannot be converted.

    Args:
        path: the file.
        reason: what is wrong with it, without its path (reasons are stored in shards).
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.reason = reason


class DamagedRecord(InputError):
    """A shard's record that is not what was written."""


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


def why_unreadable(path: Path, error: OSError) -> str:
    """Return why a file cannot be read, as a reason to skip it.

    Raises:
        EnvironmentFault: the machine lacks something, which says nothing of the file.
    """
    if error.errno in _OF_THE_MACHINE:
        raise EnvironmentFault(
            f"{path}: {error.strerror}", hint="the same command goes on from here"
        ) from None
    return error.strerror or "cannot be read"
