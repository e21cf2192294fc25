"""Which folder of shards a name may mean that no folder has."""

from difflib import get_close_matches
from pathlib import Path

from ivvit_cli.config import resolve_shards
from ivvit_cli.errors import InputError
from shards.convert.sources import SOURCES
from shards.manifest import DATASET_FILE
from shards.urls import is_url


def require_shards(place: str) -> None:
    """Check that a folder of shards is there; a URL is left to who reads it.

    Raises:
        InputError: it is not; the hint says which one may be meant.
    """
    if not is_url(place) and not Path(place).is_dir():
        hint = hint_at_shards(place, "ivvit data ls")
        raise InputError(f"{place}: no such folder of shards", hint=hint)


def hint_at_shards(folder: Path | str, otherwise: str) -> str:
    """Return what to do about a folder that is not there, first `did you mean data/my-clips?`.

    What may be meant is a finished folder of shards with a close name, beside this one or in data/.
    The name of a known dataset is no slip for another's, however close: cifar10 is not cifar100.
    """
    missing = Path(folder)
    found: dict[str, Path] = {}
    for top in (missing.parent, resolve_shards("data")):
        for manifest in sorted(top.glob(f"*/{DATASET_FILE}")):
            found.setdefault(manifest.parent.name, manifest.parent)
    same = 1.0 if missing.name in SOURCES else 0.6  # 0.6: difflib's own, as for a recipe's keys
    close = get_close_matches(missing.name, found, n=1, cutoff=same)
    return f"did you mean {found[close[0]]}? otherwise: {otherwise}" if close else otherwise
