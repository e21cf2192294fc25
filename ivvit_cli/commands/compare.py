"""`ivvit compare`: runs side by side, with how sure one can be of the difference."""

import json
import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from ivvit_cli import console
from ivvit_cli.completion import complete_run
from ivvit_cli.errors import UsageError


def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN RUN …",
            help="The runs; the others are compared with the first.",
            autocompletion=complete_run,
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Compare runs with the first one: accuracies, recipes, cost.

    Accuracies are those of `ivvit eval`, with 95 % intervals. A difference is taken on the samples
    that both runs have scored, with its paired interval and McNemar's exact test.

    Examples:
      ivvit compare runs/images-only runs/joint
      ivvit compare runs/a runs/b runs/c --json
    """
    from ivvit_cli.reporting.compare import compare as tabulate
    from ivvit_cli.reporting.record import read_run

    if len(runs) < 2:
        raise UsageError("compare takes two runs or more")
    records = [read_run(run) for run in runs]
    for record in records:
        for line in record.outdated():
            console.warn(line)
    document = tabulate(records)
    if as_json:
        console.print_json(document)
        return
    _print_evaluations(document["runs"], document["evaluations"])
    _print_recipes(document["recipes"])
    _print_cost(document["cost"])
    console.next_step(shlex.join(["ivvit", "report", str(runs[-1])]))


def _print_evaluations(
    runs: list[str], evaluations: dict[str, list[dict[str, Any] | None]]
) -> None:
    columns = ["run", "top-1", "95 %", "samples", "change", "95 %", "p"]
    rows = {
        name: [(run, *_cells(entry)) for run, entry in zip(runs, entries, strict=True)]
        for name, entries in evaluations.items()
    }
    if not console.out.is_terminal:
        joined = [(name, *line) for name, lines in rows.items() for line in lines]
        console.table("Accuracy", ["evaluation", *columns], joined)
        return
    # A terminal is seldom wide enough for names and whole paths beside the figures.
    short = _short(runs)
    alone = [name for name, entries in evaluations.items() if len([*filter(None, entries)]) == 1]
    for name, lines in rows.items():
        if name not in alone:
            console.table(name, columns, [(short[run], *cells) for run, *cells in lines])
    if alone:
        console.say(f"evaluated for one run only: {', '.join(alone)}")


def _short(runs: list[str]) -> dict[str, str]:
    """Return the runs' names, with their folders only where names alone are the same."""
    names = {run: Path(run).name for run in runs}
    return names if len(set(names.values())) == len(names) else {run: run for run in runs}


def _cells(entry: dict[str, Any] | None) -> tuple[str, ...]:
    if entry is None:
        return ("not evaluated", "", "", "", "", "")
    low, high = entry["top1_interval"] or (None, None)
    interval = "" if low is None else f"{low:.1f} to {high:.1f}"
    cells = (f"{entry['top1']:6.2f}", interval, str(entry["samples"]))
    if "difference" not in entry:
        return (*cells, "", "", "")
    if (found := entry["difference"]) is None:
        return (*cells, "no common sample", "", "")
    span = f"{found['low']:+.1f} to {found['high']:+.1f}"
    return (*cells, f"{found['points']:+.2f}", span, f"{found['p']:.3g}")


def _print_recipes(recipes: list[dict[str, dict[str, list[Any]]]]) -> None:
    rows = [
        (run, key, _value(before), _value(after))
        for each in recipes
        for run, changes in each.items()
        for key, (before, after) in changes.items()
    ]
    if rows:
        console.table("What the recipes differ in", ["run", "key", "the first's", "its"], rows)
    else:
        console.say("the recipes are the same")


def _value(value: Any) -> str:
    """Write a value of a recipe as YAML takes it; of a whole section, that it is there."""
    if isinstance(value, dict):
        return "{…}"
    return value if isinstance(value, str) else json.dumps(value)


def _print_cost(cost: dict[str, dict[str, float | None]]) -> None:
    rows = [
        (
            run,
            _shown(each["clips_per_second"], "{:.0f}"),
            _shown(each["data_wait"], "{:.0%}"),
            _shown(each["memory_mb"], "{:.0f} MB"),
        )
        for run, each in cost.items()
    ]
    console.table("Training", ["run", "samples/s", "waiting for data", "memory"], rows)


def _shown(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)
