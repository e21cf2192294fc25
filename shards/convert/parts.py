"""A conversion in parts: which shards are whose, by nothing but their place in the plan."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from shards.errors import UsageError

ALL = "all"

Planned = TypeVar("Planned")


@dataclass(frozen=True)
class Part:
    """Every `count`-th shard, from the shard `number` on; both count from 0."""

    number: int
    count: int

    def __str__(self) -> str:
        return ALL if self.is_whole else f"{self.number}/{self.count}"

    @property
    def is_whole(self) -> bool:
        """Return whether this is not a part, but the whole conversion."""
        return self.count == 1

    def of(self, plans: Sequence[Planned]) -> Sequence[Planned]:
        """Return what of all shards is this part's."""
        return plans[self.number :: self.count]


WHOLE = Part(0, 1)


def parse_part(text: str) -> Part:
    """Return the part that `i/n` names, for i from 0 to n - 1; `all` is the whole conversion.

    Raises:
        UsageError: the text is neither.
    """
    if text == ALL:
        return WHOLE
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if not match:
        raise UsageError(f"part {text}: use i/n, such as 0/16 to 15/16, or {ALL}")
    return make_part(int(match[1]), int(match[2]), text)


def make_part(number: int, count: int, name: str) -> Part:
    """Return a part; `name` is what an error calls it.

    Raises:
        UsageError: there is no such part.
    """
    if not count:
        raise UsageError(f"part {name}: there is at least one part")
    if not 0 <= number < count:
        raise UsageError(f"part {name}: {count} parts are counted from 0 to {count - 1}")
    return Part(number, count)


def array_expression(numbers: Iterable[int]) -> str:
    """Return numbers as batch systems write the tasks of an array: `3,7-9`."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1][1:] = [number]
        else:
            runs.append([number])
    return ",".join("-".join(map(str, run)) for run in runs)
