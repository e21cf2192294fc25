"""`ivvit train`: a recipe in, a run folder out."""

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from ivvit_cli import console
from ivvit_cli.completion import complete_recipe, complete_resumed
from ivvit_cli.errors import RunInterrupted, UsageError
from ivvit_cli.sharding import command_line


def train(
    context: typer.Context,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RUN|KEY=VALUE",
            help="Overrides; with --resume also the RUN.",
            autocompletion=complete_resumed,
        ),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE",
            help="`ivvit recipe ls` lists the names.",
            autocompletion=complete_recipe,
        ),
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
    gpus: Annotated[
        int | None, typer.Option(help="--dry-run: for so many GPUs; by default those here.")
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="--dry-run: of each GPU, as in 80GiB; default: as here."),
    ] = None,
    tflops: Annotated[
        float | None, typer.Option(help="--dry-run: TFLOP/s that a GPU sustains, for the time.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Train one model jointly on the datasets of a recipe.

    SIGTERM, SIGUSR1 and Ctrl-C finish the iteration, save and exit (143, 138, 130); a second one
    exits at once.
    With torchrun, every process trains its share of each batch; torchrun itself then exits with 1.

    Examples:
      ivvit train --recipe iv-vit optim.lr=3e-5 data.ucf101.batch=8
      ivvit train --recipe iv-vit --dry-run
      ivvit train --recipe cover-k400 --dry-run --gpus 8 --memory 80GiB
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
        session = _resumed(_only(places, run), overrides, recipe, device)
    else:
        session = _new(recipe, places, overrides, run, device)
    target = {"gpus": gpus, "memory": memory, "tflops": tflops}
    given = [name for name, value in target.items() if value is not None]
    if dry_run:
        _plan(session, target, as_json)
        if not (as_json or given) and session.ranks.world == 1:
            console.next_step(command_line(context, ("dry_run",)))
        return
    if given:
        raise UsageError(f"--{given[0]}: describes the machine of a --dry-run")
    _execute(session, as_json)


def _new(
    name: str | None, places: list[Path], overrides: list[str], run: Path | None, device: str
) -> Any:
    from ivvit_cli.config import dump_recipe, load_recipe
    from ivvit_cli.training.folder import default_run
    from ivvit_cli.training.job import job_of
    from ivvit_cli.training.session import Session

    if places:
        what = "resume" if places[0].is_dir() else "recipe"
        raise UsageError(f"{places[0]}: not of the form key=value", hint=f"is --{what} missing?")
    if name is None:
        raise UsageError("which recipe? there is no --recipe", hint="ivvit recipe ls")
    recipe = load_recipe(name, overrides)
    place = run or default_run(name)
    return Session(job_of(recipe), place, recipe=dump_recipe(recipe), device=device)


def _only(places: list[Path], run: Path | None) -> Path:
    runs = [*places, *([run] if run else [])]
    if len(runs) != 1:
        raise UsageError("--resume continues one run", hint="ivvit train --resume RUN")
    return runs[0]


def _resumed(run: Path, overrides: list[str], recipe: str | None, device: str) -> Any:
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
    divides = before.schedule.kind == "task_by_task"
    refuse_breaking(changes, freezes=bool(before.model.freeze), divides=divides)
    return Session(
        job_of(after),
        run,
        recipe=dump_recipe(after),
        device=device,
        resume=True,
        changes=[str(change) for change in changes],
    )


def _plan(session: Any, target: dict[str, Any], as_json: bool) -> None:
    from ivvit_cli.training.machine import find_machine
    from ivvit_cli.training.plan_tables import print_plan

    plan, fault = session.plan(find_machine(**target, precision=session.job.train["precision"]))
    if not session.ranks.leads:
        return
    if as_json:
        console.print_json(plan)
    else:
        print_plan(plan)
    if fault:
        console.say(
            "samples and epochs take all shards; `ivvit recipe check` lists what is lacking"
        )
        raise fault


def _execute(session: Any, as_json: bool) -> None:
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
    if scores := result["metrics"]:
        _print_scores(scores)
    console.say(f"the run is in {result['run']}")
    console.next_step(shlex.join(["ivvit", "eval", result["run"]]))


def _print_scores(scores: dict[str, dict[str, Any]]) -> None:
    percent = ("top1", "top5", "mean_class")
    rows = [
        (
            name,
            score["split"],
            *(f"{score[key]:6.2f}" for key in percent),
            score["samples"],
            score["protocol"],
        )
        for name, score in scores.items()
    ]
    columns = ["dataset", "split", "top-1", "top-5", "per class", "samples", "protocol"]
    console.table("Last validation, percent", columns, rows)
