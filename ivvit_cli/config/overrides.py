"""Overrides on the command line: `optim.lr=3e-5`, `data.ucf101.batch=8`, `data.cifar100=null`."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from ivvit_cli.config.tree import Tree, merge, paths
from ivvit_cli.config.yamlio import parse
from ivvit_cli.errors import RecipeError


def apply_overrides(tree: Tree, overrides: Sequence[str]) -> Tree:
    """Lay each `key=value` on the recipe; a later one wins.

    Values are YAML, as in a file. A dataset name may hold dots. `data.NAME=null` removes a dataset,
    and `data.NAME={shards: …, batch: …}` adds one.

    Raises:
        RecipeError: an override has no `=`, its value is not YAML, or it names no dataset.
    """
    for override in overrides:
        tree = merge(tree, _read(override, tree))
    return tree


def _read(override: str, tree: Tree) -> Tree:
    key, equals, text = override.partition("=")
    name = f"override `{override}`"
    if not equals or not all(key.split(".")):
        raise RecipeError(f"{name}: not of the form key=value", hint="for example optim.lr=3e-5")
    value = parse(text, name).value
    path = _split(key, tree.value, adds=isinstance(value, dict), name=name)
    for part in reversed(path):
        value = {part: value}
    return Tree(value, dict.fromkeys(((), *paths(value)), name))


def _split(key: str, recipe: object, *, adds: bool, name: str) -> tuple[str, ...]:
    section, _, rest = key.partition(".")
    if section != "data" or not rest or not isinstance(recipe, dict):
        return tuple(key.split("."))
    datasets = [str(dataset) for dataset in recipe.get("data") or {}]
    known = [dataset for dataset in datasets if f"{rest}.".startswith(f"{dataset}.")]
    if known:
        dataset = max(known, key=len)
        tail = rest[len(dataset) + 1 :]
        return ("data", dataset, *(tail.split(".") if tail else ()))
    if adds:
        return ("data", rest)
    raise RecipeError(f"{name}: no dataset of that name{suggest(rest, datasets)}")


def suggest(word: str, known: Iterable[str], label: str = "datasets") -> str:
    """Return ` — did you mean 'lr'? (keys: lr, name)`, as far as there is something to say."""
    known = list(known)
    meant = suggest_one(word, known)
    return f"{meant} ({label}: {', '.join(known)})" if known else meant


def suggest_one(word: str, known: Iterable[str]) -> str:
    """Return ` — did you mean 'lr'?`, or nothing."""
    known = list(known)
    close = get_close_matches(word, known, n=1) or get_close_matches(word.split(".")[0], known, n=1)
    return f" — did you mean {close[0]!r}?" if close else ""
