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
        bool, typer.Option("--dry-run", help="Only show the rows and their recipes.")
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
    results = []
    with console.progress("table", len(plan.rows), "rows") as bar:
        for row in plan.rows:
            results.append(run_row(plan, row))
            bar.advance()
    _show(plan, results, as_json)
    failed = sum(bool(result.fault) for result in results)
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
    entries = []
    for name in plan.rows:
        recipe, row = plan.recipe(name), plan.table.rows[name]
        source = plan.table.rows[row.of] if row.of else row
        entries.append(
            {
                "row": name,
                "recipe": source.recipe,
                "set": list(source.set),
                "frames": row.frames,
                "datasets": list(recipe.data),
                "run": str(plan.run_of(name)),
                "printed": dict(row.printed),
            }
        )
    if as_json:
        console.print_json(entries)
        return
    table = [
        (each["row"], each["recipe"], " ".join(each["set"]), ", ".join(each["datasets"]))
        for each in entries
    ]
    console.table(plan.table.title, ["row", "recipe", "with", "datasets"], table)
    if plan.table.lacks:
        console.say(f"nobody outside has: {plan.table.lacks}")


def _show(plan: "TablePlan", results: "list[RowResult]", as_json: bool) -> None:
    scale = "smoke" if plan.smoke else "full"
    if as_json:
        rows = {each.name: _document(each) for each in results}
        console.print_json({"title": plan.table.title, "scale": scale, "rows": rows})
        return
    table = []
    for each in results:
        for dataset, printed in each.row.printed.items():
            ours = each.ours.get(dataset)
            shown = "" if ours is None else f"{ours:.2f}"
            less = "" if ours is None or plan.smoke else f"{ours - printed:+.2f}"
            table.append((each.name, dataset, f"{printed:.2f}", shown, less))
    what = "ours (smoke: no result)" if plan.smoke else "ours"
    console.table(plan.table.title, ["row", "dataset", "printed", what, "difference"], table)
    for each in results:
        if each.fault:
            console.warn(f"{each.name}: {each.fault}")
    if plan.table.lacks:
        console.say(f"nobody outside has: {plan.table.lacks}")


def _document(result: "RowResult") -> dict[str, Any]:
    return {
        "run": str(result.run),
        "printed": dict(result.row.printed),
        "ours": result.ours,
        "fault": result.fault,
    }
