"""`ivvit table`: a table of a paper, run row by row, printed numbers beside ours."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ivvit_cli import console
from ivvit_cli.completion import complete_table
from ivvit_cli.errors import IvvitError, UsageError

if TYPE_CHECKING:
    from ivvit_cli.tables.run import RowResult, TablePlan


class Scale(StrEnum):
    """How large the rows are."""

    FULL = "full"
    SMOKE = "smoke"


def table(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME|FILE]",
            help="A table (default: list them).",
            autocompletion=complete_table,
        ),
    ] = None,
    rows: Annotated[
        list[str] | None, typer.Option("--rows", metavar="ROW", help="Only this row (repeatable).")
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=DIR|URL", help="Where the shards of a dataset are."),
    ] = None,
    scale: Annotated[
        Scale, typer.Option(help="As in the paper; or tiny, on made-up data, as a check.")
    ] = Scale.FULL,
    runs: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Of the runs (default: runs/tables/NAME).")
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Only show the rows, their recipes and what they cost."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Run a table of a paper, or what is missing of it, and print its numbers beside ours.

    Every row is a run of its own, trained and evaluated as its recipe says. A second call goes on
    where the first one stopped. A row that fails costs its line; the exit code is 1 then.

    Examples:
      ivvit table
      ivvit table msca-2 --dry-run
      ivvit table iv-vit-1 --rows IV-ViT --rows images
      ivvit table cover-5 --scale smoke
    """
    if name is None:
        _list(as_json)
        return
    from ivvit_cli.config.tables import load_table
    from ivvit_cli.tables.run import plan_table, prepare, run_row

    smoke = scale is Scale.SMOKE
    folder = runs or Path("runs", "tables", f"{Path(name).stem}{'-smoke' if smoke else ''}")
    chosen = load_table(name)
    plan = plan_table(chosen, rows or [], folder, smoke=smoke, data=_places(data or []))
    if dry_run:
        _show_plan(plan, as_json)
        return
    prepare(plan)
    results = {}
    with console.progress("table", len(plan.rows), "rows") as bar:
        for row in plan.rows:
            results[row] = run_row(plan, row)
            bar.advance()
    _show(plan, results, as_json)
    console.say(f"the runs are in {folder / 'runs'}")
    failed = sum(bool(result.fault) for result in results.values())
    if failed:
        raise IvvitError(f"{failed} of {len(results)} rows failed")


def _places(words: list[str]) -> dict[str, str]:
    pairs = [word.partition("=") for word in words]
    for name, _, place in pairs:
        if not name or not place:
            raise UsageError(f"--data {name}: is not of the form NAME=DIR")
    return {name: place for name, _, place in pairs}


def _list(as_json: bool) -> None:
    from ivvit_cli.config.tables import load_table
    from ivvit_cli.recipes_dir import shipped_tables

    found = {name: load_table(name) for name in shipped_tables()}
    if as_json:
        console.print_json({name: each.model_dump(mode="json") for name, each in found.items()})
        return
    rows = [(name, each.title, len(each.rows), each.source) for name, each in found.items()]
    console.table("Tables", ["name", "about", "rows", "printed in"], rows)
    console.next_step("ivvit table NAME --dry-run")


def _show_plan(plan: "TablePlan", as_json: bool) -> None:
    from ivvit_cli.tables.costs import COLUMNS, cost_of

    entries, lines = [], []
    for name in plan.rows:
        recipe, row, source = plan.recipe(name), plan.table.rows[name], plan.table.source_of(name)
        cost = cost_of(recipe)
        entries.append(
            {
                "row": name,
                "recipe": source.recipe,
                "set": list(source.set),
                "start": source.start,
                "frames": row.frames,
                "datasets": list(recipe.data),
                "run": str(plan.run_of(name)),
                **row.model_dump(include={"printed", "top5", "gains", "note"}),
                **cost.document(),
            }
        )
        start = [f"the weights of {source.start}"] if source.start else []
        changes = " ".join([*source.set, *start])
        lines.append((name, source.recipe, changes, ", ".join(recipe.data), *cost.cells()))
    if as_json:
        console.print_json(entries)
        return
    columns = ["row", "recipe", "with", "datasets", *COLUMNS]
    console.table(plan.table.title, columns, lines)
    _remark(plan)


def _show(plan: "TablePlan", results: "dict[str, RowResult]", as_json: bool) -> None:
    from ivvit_cli.tables.lines import lines_of

    scale = "smoke" if plan.smoke else "full"
    if as_json:
        rows = {name: _document(each) for name, each in results.items()}
        console.print_json({"title": plan.table.title, "scale": scale, "rows": rows})
        return
    what = "ours (smoke: no result)" if plan.smoke else "ours"
    lines = [line.cells(plan.smoke) for line in lines_of(results, plan.table.metric)]
    columns = ["row", "dataset", "measure", "printed", what, "difference"]
    console.table(plan.table.title, columns, lines)
    for name, each in results.items():
        if each.fault:
            console.warn(f"{name}: {each.fault}")
    _remark(plan)


def _remark(plan: "TablePlan") -> None:
    for name in plan.rows:
        if note := plan.table.rows[name].note:
            console.say(f"{name}: {note}")
    if plan.table.lacks:
        console.say(f"nobody outside has: {plan.table.lacks}")


def _document(result: "RowResult") -> dict[str, Any]:
    return {
        "run": str(result.run),
        **result.row.model_dump(include={"printed", "top5", "gains", "note"}),
        "ours": result.ours,
        "ours_top5": result.top5,
        "fault": result.fault,
    }
