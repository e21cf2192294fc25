"""Sample keys: ASCII, at most 80 bytes, without a dot, unique within the dataset."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from shards.convert.items import SPLITS, Item
from shards.errors import InputError
from shards.index import KEY_BYTES

VALID_KEY = re.compile(rf"[A-Za-z0-9_-]{{1,{KEY_BYTES}}}")

_TAG = 8  # hex digits of a sha256


def clean_key(name: str) -> str:
    """Return `name` as a valid key; a long one is cut and ends in 8 hex digits of its sha256."""
    key = re.sub(r"[^A-Za-z0-9_-]", "_", name) or "_"
    return key if len(key) <= KEY_BYTES else _tagged(key, name)


def assign_keys(items: Iterable[Item]) -> tuple[Item, ...]:
    """Return the items with valid, unique keys, sorted by split and key.

    Items whose keys are equal, or equal but for upper and lower case, all get 8 hex digits of
    their source's sha256, so that a key depends on the set of items and never on their order.

    Raises:
        InputError: two items come from the same source.
    """
    cleaned = [replace(item, key=clean_key(item.key)) for item in items]
    used = Counter(item.key.lower() for item in cleaned)
    unique = [
        item if used[item.key.lower()] == 1 else replace(item, key=_tagged(item.key, item.source))
        for item in cleaned
    ]
    unique.sort(key=lambda item: (SPLITS.index(item.split), item.key))
    _check_unique(unique)
    return tuple(unique)


def _tagged(key: str, text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:_TAG]
    return f"{key[: KEY_BYTES - _TAG - 1]}-{digest}"


def _check_unique(items: list[Item]) -> None:
    seen: dict[str, Item] = {}
    for item in items:
        other = seen.setdefault(item.key, item)
        if other is not item:
            raise InputError(f"{item.source} and {other.source} have the same key, {item.key}")
