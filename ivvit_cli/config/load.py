"""From the name of a recipe to the checked recipe, and back to YAML."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ivvit_cli.config.files import find_recipe, read_recipe
from ivvit_cli.config.messages import explain
from ivvit_cli.config.overrides import apply_overrides
from ivvit_cli.config.schema import Recipe
from ivvit_cli.config.tree import Tree, read_tree
from ivvit_cli.config.yamlio import dump
from ivvit_cli.errors import RecipeError
from shards.urls import is_url


def load_recipe(name_or_path: str, overrides: Sequence[str] = ()) -> Recipe:
    """Return the recipe of a file or of a shipped name, with what it extends and the overrides.

    Raises:
        RecipeError: one line per fault, each `file:line: key: what is wrong`.
    """
    tree = apply_overrides(read_recipe(find_recipe(name_or_path)), overrides)
    return _checked(tree)


def validate(values: dict[str, Any]) -> Recipe:
    """Return the recipe of plain values.

    Raises:
        RecipeError: as `load_recipe`.
    """
    return _checked(read_tree(dump(values), "recipe"))


def _checked(tree: Tree) -> Recipe:
    try:
        # Strict, so that the text "6" is no number; as JSON, where a list may fill a tuple.
        return Recipe.model_validate_json(json.dumps(tree.value), strict=True)
    except ValidationError as error:
        raise RecipeError(*explain(error, tree, Recipe)) from None


def dump_recipe(recipe: Recipe) -> str:
    """Return the recipe with every default as YAML, which `load_recipe` reads back as equal."""
    return dump(recipe.model_dump(mode="json"))


def locate_shards(place: str) -> Path | str:
    """Return where a recipe's `shards` are: a URL as it is, or a folder (`resolve_shards`)."""
    return place if is_url(place) else resolve_shards(place)


def resolve_shards(path: str) -> Path:
    """Return the folder that a recipe's `shards` names: `$IVVIT_DATA` stands in for `data/`."""
    folder = Path(path).expanduser()
    root = os.environ.get("IVVIT_DATA")
    if root and folder.parts[:1] == ("data",):
        return Path(root, *folder.parts[1:])
    return folder
