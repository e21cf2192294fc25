"""`ivvit train`: a recipe in, a run folder out."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ivvit_cli import console
from ivvit_cli.errors import RunInterrupted, UsageError

if TYPE_CHECKING:
    from ivvit_cli.training.prepared import Prepared


def train(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[key=value]...", help="Overrides; with --resume also the RUN."),
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(metavar="NAME|FILE", help="`ivvit recipe ls` lists the names.")
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option(
            "--run",
            "--run-dir",
            help="The run's folder; by default runs/DATE-TIME-RECIPE. torchrun takes --run for "
            "itself: there, write --run-dir.",
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run RUN.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check and describe everything, train nothing.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Train one model jointly on the datasets of a recipe.

    SIGTERM and Ctrl-C finish the iteration, save and exit; a second one exits at once. With
    torchrun, every process trains its share of each batch.

    Examples:
      ivvit train --recipe iv-vit optim.lr=3e-5 data.ucf101.batch=8
      ivvit train --recipe iv-vit --dry-run
      ivvit train --resume runs/20261120-101500-iv-vit
      torchrun --nproc-per-node 8 -m ivvit_cli train --recipe iv-vit
    """
    overrides, places = [], []
    for word in words or []:
        if "=" in word and not (resume and Path(word).is_dir()):
            overrides.append(word)
        else:
            places.append(Path(word))
    if resume:
        _resume(_only(places, run), overrides, recipe, dry_run, device, as_json)
        return
    if places:
        raise UsageError(f"{places[0]}: not of the form key=value", hint="or is --resume missing?")
    if recipe is None:
        raise UsageError("which recipe? there is no --recipe", hint="ivvit recipe ls")
    _start(recipe, overrides, run, dry_run, device, as_json)


def _only(places: list[Path], run: Path | None) -> Path:
    runs = [*places, *([run] if run else [])]
    if len(runs) != 1:
        raise UsageError("--resume continues one run", hint="ivvit train --resume RUN")
    return runs[0]


def _start(
    name: str, overrides: list[str], run: Path | None, dry_run: bool, device: str, as_json: bool
) -> None:
    from ivvit_cli.config import dump_recipe, load_recipe
    from ivvit_cli.training.folder import default_run
    from ivvit_cli.training.job import job_of
    from ivvit_cli.training.session import Session

    recipe = load_recipe(name, overrides)
    place = run or default_run(name)
    session = Session(job_of(recipe), place, recipe=dump_recipe(recipe), device=device)
    _execute(session, dry_run, as_json)


def _resume(
    run: Path,
    overrides: list[str],
    recipe: str | None,
    dry_run: bool,
    device: str,
    as_json: bool,
) -> None:
    from ivvit_cli.config import dump_recipe, load_recipe
    from ivvit_cli.training.changes import list_changes, refuse_breaking
    from ivvit_cli.training.folder import require_run
    from ivvit_cli.training.job import job_of
    from ivvit_cli.training.session import Session

    if recipe is not None:
        raise UsageError("--resume takes the recipe of the run", hint="leave --recipe out")
    file = str(require_run(run))
    before, after = load_recipe(file), load_recipe(file, overrides)
    changes = list_changes(before.model_dump(), after.model_dump())
    refuse_breaking(changes)
    session = Session(
        job_of(after),
        run,
        recipe=dump_recipe(after),
        device=device,
        resume=True,
        changes=[str(change) for change in changes],
    )
    _execute(session, dry_run, as_json)


def _execute(session: Any, dry_run: bool, as_json: bool) -> None:
    if dry_run:
        _print_plan(session.prepare(), as_json)
        return
    try:
        result = session.train()
    except RunInterrupted as error:
        if session.ranks.leads:
            raise
        raise SystemExit(error.exit_code) from None
    if not session.ranks.leads:
        return
    if as_json:
        console.print_json(result)
        return
    rows = [
        [name, *(round(score, 2) for score in scores.values())]
        for name, scores in result["metrics"].items()
    ]
    if rows:
        columns = ["dataset", *next(iter(result["metrics"].values()))]
        console.table("Last validation, percent", columns, rows)
    console.say(f"the run is in {result['run']}")
    console.next_step(shlex.join(["ivvit", "eval", result["run"]]))


def _print_plan(prepared: "Prepared", as_json: bool) -> None:
    plan = prepared.plan()
    if as_json:
        console.print_json(plan)
        return
    datasets = plan.pop("datasets")
    columns = ["dataset", *next(iter(datasets.values()))]
    console.table("Datasets", columns, [[name, *row.values()] for name, row in datasets.items()])
    console.table("Training", ["", ""], [[name, f"{plan[name]}"] for name in plan])
