"""The rows of a table as runs: what is missing is trained and evaluated, in processes."""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ivvit_cli.config import Recipe, dump_recipe, load_recipe
from ivvit_cli.config.load import validate
from ivvit_cli.config.tables import Table, TableRow
from ivvit_cli.errors import InputError, UsageError
from ivvit_cli.reporting.record import read_run
from ivvit_cli.runs import list_checkpoints
from ivvit_cli.tables.smoke import make_data, shrink
from ivvit_cli.training.folder import RECIPE_FILE


@dataclass
class RowResult:
    """A row: the printed numbers, ours in percent by dataset, and what went wrong, if it did."""

    name: str
    row: TableRow
    run: Path
    ours: dict[str, float] = field(default_factory=dict)
    fault: str = ""


@dataclass(frozen=True)
class TablePlan:
    """A table, the rows of it that are wanted, and where their runs are.

    Args:
        smoke: whether rows are made small, on made-up data.
        data: elsewhere than the recipes say, the shards of datasets by name.
    """

    table: Table
    rows: Sequence[str]
    folder: Path
    smoke: bool
    data: Mapping[str, str]

    def recipe(self, name: str) -> Recipe:
        """Return a row's recipe, whole or small.

        Raises:
            RecipeError: it does not exist, or its settings do not fit.
        """
        row = self.table.rows[name]
        row = self.table.rows[row.of] if row.of else row
        recipe = load_recipe(row.recipe, list(row.set))
        if self.smoke:
            return validate(shrink(recipe, self.folder / "data"))
        moved = [
            f"data.{each}.shards={place}"
            for each, place in self.data.items()
            if each in recipe.data
        ]
        return load_recipe(row.recipe, [*row.set, *moved])

    def run_of(self, name: str) -> Path:
        """Return the folder of a row's run."""
        row = self.table.rows[name]
        kept = "".join(c if c.isalnum() or c in "-." else "-" for c in (row.of or name))
        return self.folder / "runs" / kept


def plan_table(
    table: Table, rows: Sequence[str], folder: Path, *, smoke: bool, data: Mapping[str, str]
) -> TablePlan:
    """Return the plan of some rows, or of all.

    Raises:
        UsageError: there is no such row.
    """
    for name in rows:
        if name not in table.rows:
            raise UsageError(f"--rows {name}: no such row", hint=f"rows: {', '.join(table.rows)}")
    return TablePlan(table, list(rows) or list(table.rows), folder, smoke, data)


def prepare(plan: TablePlan) -> None:
    """Make the stand-ins of a small table; a table of real data needs nothing."""
    if plan.smoke:
        sources = (plan.table.rows[plan.table.rows[n].of or n] for n in plan.rows)
        recipes = [load_recipe(row.recipe, list(row.set)) for row in sources]
        make_data(recipes, plan.folder / "data")


def run_row(plan: TablePlan, name: str) -> RowResult:
    """Train a row if it is not trained, evaluate it if it is not evaluated, and return its numbers.

    A fault costs this row alone.
    """
    row, run = plan.table.rows[name], plan.run_of(name)
    result = RowResult(name, row, run)
    recipe = plan.recipe(name)
    total = recipe.schedule.iterations
    if not _is_trained(run, total):
        fault = _call(_train(plan, name, run, recipe))
        if fault:
            result.fault = fault
            return result
    result.ours = _figures(run, row, plan)
    if not result.ours.keys() >= row.printed.keys():
        views = "1x1" if plan.smoke else plan.table.views
        result.fault = _call(["eval", str(run), "--views", views, "--frames", row.frames])
        result.ours = _figures(run, row, plan)
    return result


def _train(plan: TablePlan, name: str, run: Path, recipe: Recipe) -> list[str]:
    if (run / RECIPE_FILE).is_file():
        return ["train", "--resume", str(run)]
    file = plan.folder / "recipes" / f"{run.name}.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(dump_recipe(recipe))
    return ["train", "--recipe", str(file), "--run", str(run)]


def _is_trained(run: Path, total: int | None) -> bool:
    """Tell whether a run is at its end; one of epochs asks `train --resume`, which knows."""
    checkpoints = list_checkpoints(run)
    return bool(checkpoints) and total is not None and checkpoints[-1].name == f"step-{total:08d}"


def _call(words: list[str]) -> str:
    """Run a command of ivvit's, and return its error line; nothing where it went well."""
    command = [sys.executable, "-m", "ivvit_cli", *words]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if not done.returncode:
        return ""
    if done.returncode in (130, 143, -2, -15):
        raise KeyboardInterrupt
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    return lines[-1].removeprefix("error: ") if lines else f"exit code {done.returncode}"


def _figures(run: Path, row: TableRow, plan: TablePlan) -> dict[str, float]:
    """Return top-1 by dataset of the evaluations under the table's protocol."""
    views = "1x1" if plan.smoke else plan.table.views
    try:
        records = read_run(run).evaluations.values()
    except InputError:
        return {}
    wanted: dict[str, Any] = {"views": views, "frames": row.frames}
    return {
        record.dataset: float(record.figures["top1"])
        for record in records
        if wanted.items() <= dict(record.figures["protocol"]).items()
    }
