"""Which split of which shards each head of a checkpoint is evaluated on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from ivvit_cli.evaluation.classes import check_classes
from shards.errors import InputError, UsageError
from shards.manifest import DATASET_FILE
from shards.stream.dataset import open_dataset
from shards.stream.reader import Split
from shards.urls import is_url


@dataclass(frozen=True)
class Target:
    """A head, the samples to evaluate it on, and its clip section (None for images)."""

    dataset: str
    split: Split
    clip: Mapping[str, Any] | None


def choose_heads(
    heads: Sequence[str], wanted: Sequence[str], option: str, owner: str = "the checkpoint"
) -> list[str]:
    """Return the wanted heads, or all when none is named.

    Raises:
        UsageError: the owner has no such head; the hint names those that it has.
    """
    for name in wanted:
        if name not in heads:
            close = get_close_matches(name, heads, n=1)
            meant = f"did you mean {close[0]}? " if close else ""
            raise UsageError(
                f"{option} {name}: {owner} has no such head",
                hint=f"{meant}its heads: {', '.join(heads)}",
            )
    return list(dict.fromkeys(wanted or heads))


def open_target(
    dataset: str, head: Mapping[str, Any], *, folder: Path | str, split: str | None
) -> Target:
    """Open the shards for one head, described as in `meta.json`, and check that they belong to it.

    Args:
        split: its name; None takes the one that the run validated on.

    Raises:
        InputError: the shards are absent, are of another kind, have other classes, or lack the
            split; or no split is known.
    """
    if not is_url(folder) and not Path(folder, DATASET_FILE).is_file():
        raise InputError(
            f"{dataset}: there are no shards at {Path(folder).absolute()}",
            hint=f"name their folder: --data {dataset}=DIR",
        )
    shards = open_dataset(folder)
    if shards.kind != head["kind"]:
        raise InputError(
            f"{dataset}: the checkpoint's head is for {head['kind']}s, but {folder} holds "
            f"{shards.kind}s"
        )
    check_classes(dataset, head["classes"], shards.classes)
    name = split or head["eval_split"]
    if name is None:
        choices = " | ".join(sorted(shards.info.splits))
        raise InputError(
            f"{dataset}: the run had no split to validate on",
            hint=f"choose one: --dataset {dataset} --split {choices}",
        )
    return Target(dataset, shards[name], head["clip"])
