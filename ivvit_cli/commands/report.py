"""`ivvit report`: a run as one page that opens anywhere."""

from pathlib import Path
from typing import Annotated

import typer

from ivvit_cli import console
from ivvit_cli.completion import complete_run


def report(
    run: Annotated[Path, typer.Argument(help="A run.", autocompletion=complete_run)],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", metavar="FILE", help="(default: RUN/report.html)")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Write a run's page: its curves, accuracies, confusions, mistakes, recipe and environment.

    The page is one file: it fetches nothing, runs nothing, and follows the reader's light or dark.
    The same figures stand in a .md file beside it. `ivvit eval` before it adds what is per class.

    Examples:
      ivvit report runs/demo
      ivvit report runs/demo -o demo.html
    """
    from ivvit_cli.reporting.record import read_run
    from ivvit_cli.reporting.report import write_report

    record = read_run(run)
    for line in record.outdated():
        console.warn(line)
    files = write_report(record, out or run / "report.html")
    if as_json:
        console.print_json({"run": str(run), "files": [str(file) for file in files]})
        return
    console.print_text(console.clean(files[0]))
