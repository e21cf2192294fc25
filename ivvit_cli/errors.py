"""The error family of `shards.errors`, extended by what only the command line knows."""

from shards.errors import EnvironmentFault, InputError, IvvitError, UsageError

__all__ = [
    "EnvironmentFault",
    "InputError",
    "IvvitError",
    "RecipeError",
    "RunInterrupted",
    "UsageError",
]


class RecipeError(UsageError):
    """A recipe or an override that cannot be used.

    Args:
        faults: one line each, which starts with `file:line:`.
    """

    def __init__(self, *faults: str, hint: str | None = None) -> None:
        super().__init__("\n".join(faults), hint=hint)
        self.faults = faults


class RunInterrupted(IvvitError):
    """A run that a signal ended after it had saved its state.

    Args:
        message: one line that says what was saved.
        signal_number: the signal; the exit code is 128 plus it (130 for Ctrl-C, 143 for SIGTERM).
    """

    def __init__(self, message: str, *, signal_number: int, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.exit_code = 128 + signal_number
