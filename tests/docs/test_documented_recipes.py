"""Every recipe, part of one, table and override that a document shows is one that loads."""

import re
import shlex
import textwrap
from collections.abc import Iterator

import pytest
from documented import PAGES, Block, blocks

from ivvit_cli.config import Recipe, load_recipe
from ivvit_cli.config.tables import load_table
from ivvit_cli.config.yamlio import parse
from ivvit_cli.errors import RecipeError

KEYS = {"extends", *Recipe.model_fields}
OVERRIDE = re.compile(r"'?[a-z_]+(\.[\w*-]+)+=")


def text(block: Block) -> str:
    return textwrap.dedent("\n".join(block.lines)) + "\n"


def keys(block: Block) -> set[str]:
    """Return the keys of a block in YAML; none where it is no mapping."""
    try:
        value = parse(text(block), "block").value
    except RecipeError:
        return set()
    return set(map(str, value)) if isinstance(value, dict) else set()


def overrides(block: Block) -> Iterator[str]:
    yield from (line.strip() for line in block.lines if OVERRIDE.match(line.strip()))


EVERY = [block for page in PAGES for block in blocks(page)]
RECIPES = [block for block in EVERY if keys(block) and keys(block) <= KEYS]
TABLES = [block for block in EVERY if {"title", "rows"} <= keys(block)]
OVERRIDES = [(block.page.name, line) for block in EVERY for line in overrides(block)]


def name(block: Block) -> str:
    return f"{block.page.name}:{block.start}"


@pytest.mark.parametrize("block", RECIPES, ids=name)
def test_a_documented_recipe_loads(block: Block, tmp_path) -> None:
    for other in (each for each in RECIPES if each.page == block.page and "extends" in keys(each)):
        own = re.match(r"# (\S+)", text(other))
        (tmp_path / (own[1] if own else f"{other.start}.yaml")).write_text(text(other))
    path = tmp_path / "shown.yaml"
    base = "cover-k400" if "epochs" in text(block) else "iv-vit"  # of a part of a recipe
    path.write_text(("" if "extends" in keys(block) else f"extends: {base}\n") + text(block))
    assert load_recipe(str(path)).data


@pytest.mark.parametrize("block", TABLES, ids=name)
def test_a_documented_table_loads(block: Block, tmp_path) -> None:
    (tmp_path / "shown.yaml").write_text(text(block))
    assert load_table(str(tmp_path / "shown.yaml")).rows


@pytest.mark.parametrize(("page", "line"), OVERRIDES)
def test_a_documented_override_changes_a_recipe(page: str, line: str) -> None:
    assert load_recipe("iv-vit", shlex.split(line, comments=True)) != load_recipe("iv-vit")


def test_they_are_found() -> None:
    assert min(map(len, (RECIPES, TABLES, OVERRIDES))) > 0
