"""A recipe before it is checked: plain values, each with the place it came from."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ivvit_cli.config.yamlio import Path, parse

# A section here is one of several types, told apart by `kind`; another kind starts afresh.
_TEMPORAL: Path = ("model", "temporal")
_UNIONS: frozenset[Path] = frozenset(
    {_TEMPORAL, *((*_TEMPORAL, part) for part in ("flow", "adapter", "unit"))}
)
_REMOVABLE: Path = ("data",)  # `data.NAME: null` takes an inherited dataset out


@dataclass(frozen=True)
class Tree:
    """Plain values, and the place (`file:line`) of every key in them."""

    value: Any
    places: dict[Path, str] = field(default_factory=dict)

    def place(self, path: Path) -> str:
        """Return where a path was written, or the nearest section around it."""
        while path and path not in self.places:
            path = path[:-1]
        return self.places[path]


def read_tree(text: str, name: str) -> Tree:
    """Read YAML into a tree whose places are `name:line`."""
    document = parse(text, name)
    places = {path: f"{name}:{line}" for path, line in document.lines.items()}
    return Tree(document.value, {(): f"{name}:1"} | places)


def merge(base: Tree, over: Tree) -> Tree:
    """Lay `over` on `base`: mappings are merged key by key, everything else is replaced."""
    places = base.places | over.places
    return Tree(_merge(base.value, over.value, ()), places)


def _merge(base: Any, over: Any, path: Path) -> Any:
    if not isinstance(base, Mapping) or not isinstance(over, Mapping):
        return over
    if path in _UNIONS and over.get("kind", base.get("kind")) != base.get("kind"):
        return over
    merged = dict(base)
    for key, value in over.items():
        if value is None and path == _REMOVABLE and key in base:
            del merged[key]
        else:
            merged[key] = _merge(base.get(key), value, (*path, key))
    return merged


def paths(value: Any, prefix: Path = ()) -> Iterator[Path]:
    """Yield the path of every mapping key in a value, sections before what they hold."""
    if isinstance(value, Mapping):
        for key, child in value.items():
            yield (*prefix, key)
            yield from paths(child, (*prefix, key))
