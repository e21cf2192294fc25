"""The rows of a table as runs: what is missing is trained and evaluated, in processes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ivvit_cli.config import Recipe, dump_recipe, load_recipe
from ivvit_cli.config.load import validate
from ivvit_cli.config.tables import Table, TableRow
from ivvit_cli.errors import InputError, UsageError
from ivvit_cli.reporting.record import read_run
from ivvit_cli.runs import find_checkpoint, list_checkpoints
from ivvit_cli.tables.call import call
from ivvit_cli.tables.smoke import make_data, shrink
from ivvit_cli.training.folder import RECIPE_FILE


@dataclass
class RowResult:
    """A row: the printed numbers, ours in percent by dataset, and what went wrong, if it did.

    Attributes:
        ours: the table's metric.
        top5: beside it.
    """

    name: str
    row: TableRow
    run: Path
    ours: dict[str, float] = field(default_factory=dict)
    top5: dict[str, float] = field(default_factory=dict)
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

    @property
    def views(self) -> str:
        """The views of an evaluation."""
        return "1x1" if self.smoke else self.table.views

    def recipe(self, name: str) -> Recipe:
        """Return a row's recipe, whole or small.

        Raises:
            RecipeError: it does not exist, or its settings do not fit.
        """
        row = self.table.source_of(name)
        recipe = load_recipe(row.recipe, list(row.set))
        if self.smoke:
            values = shrink(recipe, self.folder / "data")
        else:
            values = recipe.model_dump(mode="json")
            for dataset in self.data.keys() & recipe.data.keys():
                values["data"][dataset]["shards"] = self.data[dataset]
        if row.start:
            values["model"]["weights"] = f"run:{self.run_of(row.start)}"
        return validate(values)

    def run_of(self, name: str) -> Path:
        """Return the folder of a row's run."""
        row = self.table.rows[name]
        kept = "".join(c if c.isalnum() or c in "-." else "-" for c in (row.of or name))
        return self.folder / "runs" / kept

    def runs(self) -> Iterator[str]:
        """Yield the rows that have to be trained: what those wanted are of, and start from."""
        for name in self.rows:
            each = self.table.rows[name].of or name
            while each:
                yield each
                each = self.table.rows[each].start

    def datasets_of(self, name: str) -> set[str]:
        """Return the datasets of a row's printed numbers, its own and gains; without any, all."""
        row = self.table.rows[name]
        others = (each.gains.get(name, {}) for each in self.table.rows.values())
        printed = {*row.printed, *row.top5}.union(*row.gains.values(), *others)
        return printed or {*self.recipe(name).data}


def plan_table(
    table: Table, rows: Sequence[str], folder: Path, *, smoke: bool, data: Mapping[str, str]
) -> TablePlan:
    """Return the plan of some rows, or of all.

    Raises:
        UsageError: there is no such row, or two rows of the table would be one run.
    """
    for name in rows:
        if name not in table.rows:
            raise UsageError(f"--rows {name}: no such row", hint=f"rows: {', '.join(table.rows)}")
    plan = TablePlan(table, list(rows) or list(table.rows), folder, smoke, data)
    named: dict[Path, str] = {}
    for name, row in table.rows.items():
        if row.recipe and (other := named.setdefault(plan.run_of(name), name)) != name:
            raise UsageError(f"rows {other!r} and {name!r} would be one run, {plan.run_of(name)}")
    return plan


def prepare(plan: TablePlan) -> None:
    """Make the stand-ins of a small table; a table of real data needs nothing."""
    if plan.smoke:
        rows = [plan.table.rows[name] for name in plan.runs()]
        make_data([load_recipe(row.recipe, list(row.set)) for row in rows], plan.folder / "data")


def run_row(plan: TablePlan, name: str) -> RowResult:
    """Train a row if it is not trained, evaluate it if it is not evaluated, and return its numbers.

    A fault costs this row alone.
    """
    row, run = plan.table.rows[name], plan.run_of(name)
    result = RowResult(name, row, run)
    result.fault = _train(plan, row.of or name)
    if result.fault:
        return result
    _fill(result, plan)
    if not result.ours.keys() >= plan.datasets_of(name):
        result.fault = call(["eval", str(run), "--views", plan.views, "--frames", row.frames])
        _fill(result, plan)
    return result


def _train(plan: TablePlan, name: str) -> str:
    """Train a row to its end, after the one that it starts from, and return what went wrong."""
    start, run, recipe = plan.table.rows[name].start, plan.run_of(name), plan.recipe(name)
    if start and (fault := _train(plan, start)):
        return f"{start}: {fault}"
    if _is_trained(run, recipe.schedule.iterations):
        return ""
    if (run / RECIPE_FILE).is_file():
        return call(["train", "--resume", str(run)])
    file = plan.folder / "recipes" / f"{run.name}.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(dump_recipe(recipe))
    return call(["train", "--recipe", str(file), "--run", str(run)])


def _is_trained(run: Path, total: int | None) -> bool:
    """Tell whether a run is at its end; one of epochs asks `train --resume`, which knows."""
    checkpoints = list_checkpoints(run)
    return bool(checkpoints) and total is not None and checkpoints[-1].name == f"step-{total:08d}"


def _fill(result: RowResult, plan: TablePlan) -> None:
    """Take a row's numbers from the evaluations of its last checkpoint in the table's protocol."""
    try:
        records = read_run(result.run).evaluations.values()
        last = find_checkpoint(result.run).name
    except InputError:
        return
    wanted: dict[str, Any] = {"views": plan.views, "frames": result.row.frames, "checkpoint": last}
    for record in records:
        if wanted.items() <= dict(record.figures["protocol"]).items():
            result.ours[record.dataset] = float(record.figures[plan.table.metric])
            result.top5[record.dataset] = float(record.figures["top5"])
