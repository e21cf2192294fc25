"""`ivvit demo`: everything once, on data that it makes itself."""

import sys
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated

import typer

from ivvit_cli import console


def demo(
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder for all of it; an earlier demo is replaced.")
    ] = Path("demo"),
    iterations: Annotated[
        int | None, typer.Option(min=1, help="Of either training (default: the recipe's).")
    ] = None,
) -> None:
    """Make four small datasets, then shard, train, evaluate and predict, command by command.

    It takes some minutes on two cores, and shows what a video model sees that frames alone do not
    tell. Every command is printed before it runs, and can be repeated by hand.

    Examples:
      ivvit demo
      ivvit demo --out /tmp/demo --iterations 50
    """
    if isinstance(sys.stdout, TextIOWrapper):  # a pipe, too, shows both streams in their order
        sys.stdout.reconfigure(line_buffering=True)
    from ivvit_cli.app import run
    from ivvit_cli.demo.story import Tour

    Tour(out, run, quiet=console.settings.quiet, iterations=iterations).tell()
