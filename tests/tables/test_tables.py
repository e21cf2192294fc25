"""The papers' tables: every row is a recipe that builds; a small table runs, stops and goes on."""

import json
import shutil

import pytest
import torch

from ivvit_cli import app
from ivvit_cli.config import load_recipe
from ivvit_cli.config.load import validate
from ivvit_cli.config.tables import load_table
from ivvit_cli.errors import RecipeError
from ivvit_cli.models import build_model
from ivvit_cli.recipes_dir import shipped_tables
from ivvit_cli.tables.smoke import shrink

ROWS = [
    (table, name)
    for table in shipped_tables()
    for name, row in load_table(table).rows.items()
    if row.recipe
]


@pytest.mark.parametrize(("table", "name"), ROWS)
def test_every_row_is_a_recipe_that_builds_large_and_small(table, name, tmp_path):
    row = load_table(table).rows[name]
    recipe = load_recipe(row.recipe, list(row.set))
    assert row.printed.keys() <= recipe.data.keys()
    small = validate(shrink(recipe, tmp_path))
    assert small.model.temporal.kind == recipe.model.temporal.kind
    assert small.schedule.kind == recipe.schedule.kind
    with torch.device("meta"):
        for each in (recipe, small):
            build_model(each.model.model_dump(), dict.fromkeys(each.data, 3))


def test_a_row_of_a_row_is_its_run():
    rows = load_table("cover-2").rows
    assert (rows["K400 reversed"].of, rows["K400 reversed"].frames) == ("K400", "reverse")


def test_every_table_says_where_it_is_printed():
    for name in shipped_tables():
        assert load_table(name).source
        assert shipped_tables()[name].read_text().startswith("# ")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("title: a\nsource: b\nrows: {}\n", "mine.yaml:3: rows: must not be empty"),
        ("title: a\nsource: b\nrows:\n  x: {recipe: demo}\n", "rows.x.printed: is missing"),
        (
            "title: a\nsource: b\nrows:\n  x: {recpie: demo, printed: {a: 1}}\n",
            "mine.yaml:4: rows.x.recpie: unknown key — did you mean 'recipe'?",
        ),
        ("title: a\nsource: b\nrows:\n  x: {of: y, printed: {a: 1}}\n", "is of a recipe or a row"),
        (
            "title: a\nsource: b\nrows:\n  x: {recipe: demo, printed: {a: 101}}\n",
            "rows.x.printed.a: must be at most 100.0, not 101",
        ),
    ],
)
def test_a_fault_in_a_table_has_its_line(tmp_path, text, fault):
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(RecipeError) as caught:
        load_table(str(tmp_path / "mine.yaml"))
    assert fault in str(caught.value)


TABLE = """\
title: mine
source: nowhere
rows:
  joint:
    recipe: iv-vit-small
    set: ["data.tiny-imagenet=null"]
    printed: {cifar100: 50, ucf101: 60}
  backwards: {of: joint, frames: reverse, printed: {ucf101: 40}}
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    (tmp_path / "mine.yaml").write_text(TABLE)
    return tmp_path


def test_a_small_table_runs_and_goes_on(here, capsys):
    command = ["table", "mine.yaml", "--scale", "smoke", "--rows", "joint", "--rows", "backwards"]
    assert app.run([*command, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert rows["joint"]["ours"].keys() == {"cifar100", "ucf101"}
    assert rows["backwards"]["ours"].keys() == {"ucf101"} | rows["joint"]["ours"].keys()
    assert rows["joint"]["run"] == rows["backwards"]["run"]
    run = here / rows["joint"]["run"]
    before = (run / "checkpoints/last/meta.json").stat().st_mtime_ns
    shutil.rmtree(run / "eval/ucf101-val-1x1-reverse")
    assert app.run(command) == 0
    out, _ = capsys.readouterr()
    lines = [line.split("  ")[0] for line in out.splitlines()]
    assert lines.count("joint") == 2
    assert "smoke: no result" in out
    assert (run / "checkpoints/last/meta.json").stat().st_mtime_ns == before
    assert (run / "eval/ucf101-val-1x1-reverse/metrics.json").is_file()


def test_a_table_lists_what_it_would_do(here, capsys):
    assert app.run(["table", "cover-5", "--dry-run", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan[0]["datasets"] == ["kinetics400"]
    assert plan[3]["set"] == []
    assert app.run(["table", "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)) == set(shipped_tables())
    assert app.run(["table", "cover-5", "--rows", "x"]) == 2
    assert app.run(["table", "none"]) == 2


def test_a_row_that_fails_costs_its_line(here, capsys):
    """Without shards every row fails, and says why."""
    assert app.run(["table", "mine.yaml", "--rows", "joint"]) == 1
    out, err = capsys.readouterr()
    assert "warning: joint: there are no finished shards of data.cifar100" in err
    assert "error: 1 of 1 rows failed" in err
    assert "50.00" in out
    moved = ["--data", f"ucf101={here}/none", "--data", "elsewhere=x"]
    assert app.run(["table", "mine.yaml", "--rows", "joint", *moved, "--runs", "other"]) == 1
    assert f"data.ucf101 at {here}/none" in capsys.readouterr().err
