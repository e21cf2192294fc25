"""What recipes cost: as the papers print it, and as docs/recipes.md has it."""

import json
import re
from pathlib import Path

import pytest

from ivvit_cli import app
from ivvit_cli.config import load_recipe
from ivvit_cli.recipes_dir import shipped_recipes
from ivvit_cli.tables.costs import COLUMNS, cost_of

PAGE = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text()
SECTION = PAGE.partition("## What recipes cost\n")[2].partition("\n## ")[0]
LINES = [line.split() for line in SECTION.splitlines() if line.startswith("    ")]


def test_the_document_has_every_recipe():
    assert LINES[0] == " ".join(["name", *COLUMNS]).split()
    assert [line[0] for line in LINES[1:]] == list(shipped_recipes())


@pytest.mark.parametrize("name", ["cover-frozen-ssv2", "iv-vit", "linear-probe-k400", "msca-k400"])
def test_the_document_agrees_with_the_command(name, capsys):
    assert app.run(["recipe", "ls", name, "--costs"]) == 0
    head, line = capsys.readouterr().out.splitlines()
    assert [head.split(), line.split()] == [LINES[0], next(x for x in LINES if x[0] == name)]


@pytest.mark.parametrize(
    ("name", "changes", "what", "printed", "attention"),
    [
        ("tokshift-k400", (), "8 frames", 134.7, False),
        ("tokshift-k400", ("data.kinetics400.clip.frames=16",), "16 frames", 268.5, False),
        ("timesformer-k400", (), "8 frames", 590 / 3, True),
        ("timesformer-hr-k400", (), "16 frames", 5110 / 3, True),
    ],
)
def test_multiply_adds_are_those_that_are_printed(name, changes, what, printed, attention):
    """By TokenShift's model zoo, per view and without attention; by TimeSformer, of three views."""
    adds = cost_of(load_recipe(name, changes)).views[what]
    assert (adds.total if attention else adds.linear) / 1e9 == pytest.approx(printed, rel=6e-3)


def test_what_is_trained_and_what_is_not_known(capsys):
    """A probe trains a linear layer; a head for whose classes nothing is published is left out."""
    assert app.run(["recipe", "ls", "*-probe*", "--costs", "--json"]) == 0
    small, large = json.loads(capsys.readouterr().out)
    assert (small["name"], small["trained"]) == ("iv-vit-small-probe", 192 * 101 + 101)
    assert (large["name"], large["trained"]) == ("linear-probe-k400", 768 * 400 + 400)
    demo = cost_of(load_recipe("demo"))
    others = [f"data.{name}=null" for name in ("textures", "moving", "order")]
    assert demo.parameters == cost_of(load_recipe("demo", others)).parameters


def test_a_pattern_that_fits_none_is_a_fault(capsys):
    assert app.run(["recipe", "ls", "none-*"]) == 2
    assert re.search("no recipe is named none-", capsys.readouterr().err)
