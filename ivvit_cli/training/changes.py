"""What may differ between a run and its continuation."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ivvit_cli.errors import UsageError

_FIXED = (
    ("model",),
    ("input",),
    ("data",),
    ("schedule", "kind"),
    ("schedule", "sampling"),
    ("schedule", "batch"),
    ("optim", "name"),
    ("optim", "layer_decay"),  # which divides the parameters into groups
    ("train", "seed"),
)
_LENGTH = (("schedule", "iterations"), ("schedule", "epochs"))
_FREE_IN_DATA = ("shards", "eval_split", "min_short_side")


@dataclass(frozen=True)
class Change:
    """One value of a recipe that an override changed."""

    path: tuple[str, ...]
    before: Any
    after: Any

    def __str__(self) -> str:
        return f"{'.'.join(self.path)}: {self.before} -> {self.after}"

    @property
    def breaks(self) -> bool:
        """Whether the model, the order of the samples or the optimiser would be another one."""
        if self.path[0] == "data" and self.path[-1] in _FREE_IN_DATA:
            return False
        return any(self.path[: len(fixed)] == fixed for fixed in _FIXED)


def list_changes(before: Any, after: Any, path: tuple[str, ...] = ()) -> list[Change]:
    """Return the values in which two recipes, as nested mappings, differ."""
    if not (isinstance(before, Mapping) and isinstance(after, Mapping)):
        return [] if before == after else [Change(path, before, after)]
    return [
        change
        for key in dict.fromkeys([*before, *after])
        for change in list_changes(before.get(key), after.get(key), (*path, str(key)))
    ]


def refuse_breaking(changes: list[Change], *, freezes: bool, divides: bool) -> None:
    """Refuse changes that a run cannot be continued with.

    Args:
        freezes: the run has a frozen backbone; where it is may change, and its sha256 is compared.
        divides: the schedule divides the run's length among datasets (`task_by_task`).

    Raises:
        UsageError: naming the first of them.
    """
    for change in changes:
        moved = freezes and change.path == ("model", "weights")
        breaks = change.breaks or (divides and change.path in _LENGTH)
        if breaks and not moved:
            raise UsageError(
                f"a resumed run cannot change {change}",
                hint="the model, the order of the samples and the optimiser stay: start a new run",
            )
