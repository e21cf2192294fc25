"""What is to be done with the shards of a plan, wherever that is, and how this machine does it."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from shards.convert.items import Item
from shards.convert.options import Options
from shards.convert.plan import ShardPlan
from shards.convert.pool import ordered
from shards.convert.samples import Sample, Skipped, convert_item
from shards.convert.writer import write_shard
from shards.errors import InputError
from shards.manifest import Kind

Tell = Callable[[int], None]  # called with how many more items are done


@dataclass(frozen=True)
class Job:
    """Where the shards go and how items are converted; it can be sent to other machines."""

    out: Path
    kind: Kind
    classes: tuple[str, ...]
    options: Options
    skip_bad: bool

    def convert(self, item: Item) -> Sample | Skipped:
        """Convert one item.

        Raises:
            InputError: it cannot be converted, and should not be skipped.
        """
        class_name = self.classes[item.label]
        result = convert_item(item, kind=self.kind, class_name=class_name, options=self.options)
        if isinstance(result, Skipped) and not self.skip_bad:
            raise InputError(
                f"{result.source}: {result.reason}",
                hint="repair or remove it, or use --on-bad skip",
            )
        return result


def write_shards(job: Job, plans: Sequence[ShardPlan], workers: int | None, tell: Tell) -> None:
    """Convert and write every shard, some items at a time (None: one per core).

    Raises:
        InputError: an item is bad, and should not be skipped.
        OSError: a shard cannot be written.
    """
    items = (item for plan in plans for item in plan.items)
    results = _told(ordered(job.convert, items, workers or len(os.sched_getaffinity(0))), tell)
    for plan in plans:
        write_shard(job.out, plan, islice(results, len(plan.items)))


def _told(results: Iterable[Sample | Skipped], tell: Tell) -> Iterator[Sample | Skipped]:
    for result in results:
        tell(1)
        yield result
