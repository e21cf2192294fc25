"""The family of errors that a user is meant to read: one line, perhaps a hint, an exit code."""


class IvvitError(Exception):
    """A failure with a message for the user instead of a traceback.

    Args:
        message: one line that names what went wrong and where.
        hint: what the user can do about it, if that is known.
    """

    exit_code = 1  # a check or a run failed

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(IvvitError):
    """The command line or a recipe asks for something that does not exist."""

    exit_code = 2


class InputError(IvvitError):
    """A file, folder, shard or checkpoint is missing, damaged or of the wrong kind."""

    exit_code = 3


class EnvironmentFault(IvvitError):
    """The machine lacks something: ffmpeg, a GPU, memory, disk, a network."""

    exit_code = 4
