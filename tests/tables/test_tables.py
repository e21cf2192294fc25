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
from ivvit_cli.recipes_dir import shipped_recipes, shipped_tables
from ivvit_cli.tables.lines import lines_of
from ivvit_cli.tables.run import RowResult
from ivvit_cli.tables.smoke import make_data, shrink
from shards import open_dataset

TABLES = {name: load_table(name) for name in shipped_tables()}
ROWS = {
    (row.recipe, row.set): f"{table}: {name}"  # rows that are alike are tried once
    for table, each in TABLES.items()
    for name, row in each.rows.items()
    if row.recipe
}
RECIPES = {(name, ()): name for name in shipped_recipes()}


@pytest.mark.parametrize(("name", "changes"), ROWS, ids=ROWS.values())
def test_every_row_is_a_recipe_that_builds_small(name, changes, tmp_path):
    recipe = load_recipe(name, list(changes))
    small = validate(shrink(recipe, tmp_path))
    assert small.model.temporal.kind == recipe.model.temporal.kind
    assert small.schedule.kind == recipe.schedule.kind
    assert small.model.backbone.split("_")[0] == recipe.model.backbone.split("_")[0]
    with torch.device("meta"):
        build_model(small.model.model_dump(), dict.fromkeys(small.data, 3))


CHECKED = RECIPES | ROWS


def test_stand_ins_have_classes_of_their_own(tmp_path):
    """Else a head would be kept in a transfer between datasets that have none in common."""
    make_data([load_recipe("iv-vit", ["data.cifar100=null", "data.tiny-imagenet=null"])], tmp_path)
    first, second = (open_dataset(tmp_path / name) for name in ("ucf101", "mini-kinetics"))
    assert len(first.classes) == len(second.classes) > 2
    assert not {*first.classes} & {*second.classes}


@pytest.mark.parametrize(("name", "changes"), CHECKED, ids=CHECKED.values())
def test_every_recipe_and_row_passes_its_check(name, changes, tmp_path, monkeypatch, capsys):
    """`ivvit recipe check` builds the whole model, without memory for its weights."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("IVVIT_DATA", raising=False)
    assert app.run(["recipe", "check", name, *changes, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["model"]["parameters"] > 0
    assert {each["state"] for each in found["datasets"].values()} == {"no shards yet"}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_s_numbers_are_of_datasets_that_its_rows_have(name):
    table = TABLES[name]
    assert table.source
    assert shipped_tables()[name].read_text().startswith("# ")
    for row_name, row in table.rows.items():
        source = table.source_of(row_name)
        datasets = load_recipe(source.recipe, list(source.set)).data.keys()
        assert row.printed.keys() | row.top5.keys() <= datasets, row_name
        for other, gains in row.gains.items():
            theirs = table.source_of(other)
            assert gains.keys() <= datasets, row_name
            assert gains.keys() <= load_recipe(theirs.recipe, list(theirs.set)).data.keys()


def test_a_row_of_a_row_is_its_run():
    rows = load_table("cover-2").rows
    assert (rows["K400 reversed"].of, rows["K400 reversed"].frames) == ("K400", "reverse")


def test_printed_gains_are_the_differences_of_printed_numbers():
    """Where CoVeR prints both; K400 83.1 and 80.7, and 2.4."""
    rows, seen = load_table("cover-1").rows, 0
    for row in rows.values():
        for other, gains in row.gains.items():
            for dataset, gain in gains.items():
                difference = row.printed[dataset] - rows[other].printed[dataset]
                assert difference == pytest.approx(gain)
                seen += 1
    assert seen == 4


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
        (
            "title: a\nsource: b\nrows:\n  x: {recipe: demo, start: x, printed: {}}\n",
            "mine.yaml:4: rows.x.start: no row 'x' with a recipe stands above",
        ),
        (
            "title: a\nsource: b\nrows:\n  x: {recipe: demo, printed: {}, gains: {y: {a: 1}}}\n",
            "rows.x.gains: no row 'y'",
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
    top5: {ucf101: 90}
  backwards: {of: joint, frames: reverse, printed: {ucf101: 40}}
  moved:
    recipe: iv-vit-small-probe
    start: joint
    printed: {}
    gains: {joint: {ucf101: 5}}
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    (tmp_path / "mine.yaml").write_text(TABLE)
    return tmp_path


def test_a_small_table_runs_and_goes_on(here, capsys):
    """A row that starts from another trains that one first; what is there is not done again."""
    command = ["table", "mine.yaml", "--scale", "smoke", "--rows"]
    assert app.run([*command, "moved", "--rows", "backwards", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert rows["moved"]["ours"].keys() == {"ucf101"}
    assert rows["backwards"]["ours"].keys() == rows["backwards"]["ours_top5"].keys()
    run = here / rows["backwards"]["run"]
    assert f"run:{run.relative_to(here)}" in (here / rows["moved"]["run"] / "log.txt").read_text()
    before = (run / "checkpoints/last/meta.json").stat().st_mtime_ns
    shutil.rmtree(run / "eval/ucf101-val-1x1-reverse")
    assert app.run([*command, "backwards"]) == 0
    out, err = capsys.readouterr()
    assert [line.split("  ")[0] for line in out.splitlines()] == ["row", "backwards"]
    assert f"the runs are in {run.relative_to(here).parent}\n" in err
    assert "smoke: no result" in out
    assert (run / "checkpoints/last/meta.json").stat().st_mtime_ns == before
    assert (run / "eval/ucf101-val-1x1-reverse/metrics.json").is_file()


def test_what_another_checkpoint_scored_is_no_number_of_a_row(here, capsys):
    """As after `ivvit eval` of a row that was still in training."""
    command = ["table", "mine.yaml", "--scale", "smoke", "--rows", "joint", "--json"]
    assert app.run(command) == 0
    ours = json.loads(capsys.readouterr().out)["rows"]["joint"]["ours"]
    for path in here.rglob("eval/*/metrics.json"):
        figures = json.loads(path.read_text())
        figures["protocol"]["checkpoint"] = "step-00000002"
        path.write_text(json.dumps(figures | {"top1": 99.0}))
    assert app.run(command) == 0
    assert json.loads(capsys.readouterr().out)["rows"]["joint"]["ours"] == ours


def test_a_gain_is_the_difference_of_two_rows(here):
    rows = load_table("mine.yaml").rows
    results = {
        "joint": RowResult("joint", rows["joint"], here, {"ucf101": 61.0}, {"ucf101": 88.0}),
        "moved": RowResult("moved", rows["moved"], here, {"ucf101": 64.5}),
    }
    assert [line.cells(smoke=False) for line in lines_of(results, "top1")] == [
        ("joint", "cifar100", "top1", "50.00", "", ""),
        ("joint", "ucf101", "top1", "60.00", "61.00", "+1.00"),
        ("joint", "ucf101", "top5", "90.00", "88.00", "-2.00"),
        ("moved", "ucf101", "top1", "", "64.50", ""),
        ("moved", "ucf101", "top1 over joint", "+5.00", "+3.50", "-1.50"),
    ]
    own, gain = lines_of({"moved": results["moved"]}, "top1")
    assert (own.printed, gain.ours) == (None, None)
    assert gain.cells(smoke=False)[3:] == ("+5.00", "", "")


def test_a_table_lists_what_it_would_do(here, capsys):
    assert app.run(["table", "cover-5", "--dry-run", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan[0]["datasets"] == ["kinetics400"]
    assert plan[3]["set"] == []
    # CoVeR prints 431 M, and 17.6 T of three views.
    assert plan[3]["parameters"] == pytest.approx(431.88e6, rel=1e-5)
    assert plan[3]["views"]["16 frames"]["multiply_adds"] * 3 == pytest.approx(17.6e12, rel=5e-3)
    assert app.run(["table", "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)) == set(shipped_tables())
    assert app.run(["table", "cover-5", "--rows", "x"]) == 2
    assert app.run(["table", "none"]) == 2


def test_two_rows_are_never_one_run(here, capsys):
    rows = "  {}: {{recipe: demo, printed: {{}}}}\n"
    text = "title: a\nsource: b\nrows:\n" + rows.format('"a b"') + rows.format("a-b")
    (here / "mine.yaml").write_text(text)
    assert app.run(["table", "mine.yaml", "--dry-run"]) == 2
    assert "rows 'a b' and 'a-b' would be one run" in capsys.readouterr().err


def test_a_row_that_fails_costs_its_line(here, capsys):
    """Without shards every row fails, and says why; so does one that starts from such a row."""
    assert app.run(["table", "mine.yaml", "--rows", "joint", "--rows", "moved"]) == 1
    out, err = capsys.readouterr()
    assert "warning: joint: there are no finished shards of data.cifar100" in err
    assert "warning: moved: joint: there are no finished shards of data.cifar100" in err
    assert "error: 2 of 2 rows failed" in err
    assert "50.00" in out
    moved = ["--data", f"ucf101={here}/none", "--data", "elsewhere=x"]
    assert app.run(["table", "mine.yaml", "--rows", "joint", *moved, "--runs", "other"]) == 1
    assert f"data.ucf101 at {here}/none" in capsys.readouterr().err
