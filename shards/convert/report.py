"""What a conversion did, as `ivvit shard` tells it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from shards.convert.items import Listing
from shards.convert.parts import WHOLE, Part, array_expression
from shards.convert.samples import Skipped

REASONS = 3  # of items skipped, told on the spot; skipped.jsonl has them all

Row = dict[str, int]  # of one split: samples, shards, bytes


@dataclass(frozen=True)
class Report:
    """The outcome of a conversion, or its forecast; `document()` is its JSON document.

    `notes` are sentences about the dataset; `reused` counts the shards of earlier runs; `reasons`
    say of the first items skipped what is wrong with them. As long as there are `missing_shards`
    (places in the plan), of other parts, it speaks of the items of this part alone.
    """

    dataset: str
    kind: str
    splits: dict[str, Row]
    classes: tuple[str, ...]
    listed: int
    written: int
    missing: int
    skipped: int
    duplicate: int
    notes: tuple[str, ...]
    reused: int
    reasons: tuple[str, ...]
    part: Part = WHOLE
    missing_shards: tuple[int, ...] = ()

    @property
    def missing_parts(self) -> str:
        """Return the parts whose shards are missing, as the expression of an array of tasks."""
        return array_expression({place % self.part.count for place in self.missing_shards})

    @classmethod
    def of(
        cls,
        listing: Listing,
        splits: dict[str, Row],
        labels: set[int],
        skipped: Sequence[Skipped],
        reused: int,
    ) -> "Report":
        """Return the report of a listing that became these splits, with samples of `labels`."""
        missing = len(listing.missing)
        return cls(
            dataset=listing.name,
            kind=listing.kind,
            splits=splits,
            classes=listing.classes,
            listed=len(listing.items) + missing,
            written=sum(row["samples"] for row in splits.values()),
            missing=missing,
            skipped=len(skipped),
            duplicate=sum(listing.duplicates.values()),
            notes=listing.notes + _empty_classes(listing.classes, labels),
            reused=reused,
            reasons=tuple(f"{item.source}: {item.reason}" for item in skipped[:REASONS]),
        )

    def document(self) -> dict[str, Any]:
        """Return the report as plain values."""
        return {
            "dataset": self.dataset,
            "kind": self.kind,
            "splits": self.splits,
            "classes": list(self.classes),
            "listed": self.listed,
            "written": self.written,
            "missing": self.missing,
            "skipped": self.skipped,
            "duplicate": self.duplicate,
            "part": str(self.part),
            "finished": not self.missing_shards,
            "missing_parts": self.missing_parts,
        }


def _empty_classes(classes: tuple[str, ...], labels: set[int]) -> tuple[str, ...]:
    empty = [name for label, name in enumerate(classes) if label not in labels]
    if not empty:
        return ()
    return (f"{len(empty)} of {len(classes)} classes have no sample: {some(empty)}",)


def some(names: Sequence[str]) -> str:
    """Return the first names of a long list, to be read in one line."""
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "")


def counted(count: int, noun: str) -> str:
    """Return `1 file`, `2 files`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"
