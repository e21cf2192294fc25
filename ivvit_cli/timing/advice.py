"""One line on what would make reading faster."""

from collections.abc import Mapping
from dataclasses import dataclass

_WORTH = 1.15  # times as fast, for a number of threads to be worth a word
_SAVED = 0.1  # share of the time that smaller frames save, to be worth a word
_HELD_BACK = 0.6  # share of the decode bound below which something else is slow


@dataclass(frozen=True)
class Stored:
    """A dataset's frames as they are stored, and as a training needs them.

    Attributes:
        short_side: of its frames, in pixels.
        needed: the largest short side that its crops are taken at.
        load: the share of all decoding that is its.
    """

    short_side: int
    needed: int
    load: float

    @property
    def saved(self) -> float:
        """The share of all decoding that frames of the needed size would save."""
        return self.load * (1 - (self.needed / self.short_side) ** 2)


def advise(
    datasets: Mapping[str, Stored],
    rates: Mapping[int, float],
    *,
    threads: int,
    share: float,
    remote: bool,
) -> str:
    """Return a sentence.

    Args:
        rates: updates or samples per second by the number of threads.
        threads: as the recipe has it; one of `rates`.
        share: of the decode bound that is reached with them.
        remote: whether any of the shards are at a URL.
    """
    best = max(rates, key=lambda number: rates[number])
    if rates[best] > _WORTH * rates[threads]:
        gain = rates[best] / rates[threads]
        return f"loader.threads={best} reads {gain:.1f} x as fast as the {threads} of now"
    if share < _HELD_BACK and remote:
        return (
            f"decoding would take {share:.0%} of the time, the rest waits for the network: give "
            "loader.cache.limit room for all shards, or copy them to this machine"
        )
    largest = max(datasets, key=lambda name: datasets[name].saved)
    stored = datasets[largest]
    if share * stored.saved > _SAVED:
        return (
            f"{largest}: frames of {stored.short_side} pixels are decoded for crops that need "
            f"{stored.needed}: `ivvit shard … --short-side {stored.needed}` leaves out "
            f"{stored.saved:.0%} of all decoding"
        )
    if share < _HELD_BACK:
        return (
            f"decoding would take {share:.0%} of the time: the disk, small batches, or other "
            "programs on these cores hold the reading back"
        )
    return "reading is as fast as these cores decode: faster with more of them"
