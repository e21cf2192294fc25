"""What a shell offers for a word that is being typed; answered in an instant, so nothing heavy."""

from collections.abc import Iterable
from pathlib import Path

import typer

from ivvit_cli.recipes_dir import shipped_recipes, shipped_tables

_RUN_FILE = "recipe.yaml"  # which every run has


def complete_recipe(incomplete: str) -> list[str]:
    """Return the shipped recipes whose names begin so; a shell adds files where there is none."""
    return _beginning(incomplete, shipped_recipes())


def complete_table(incomplete: str) -> list[str]:
    """Return the shipped tables whose names begin so."""
    return _beginning(incomplete, shipped_tables())


def complete_run(incomplete: str) -> list[str]:
    """Return the runs that begin so: beside what is typed, at first here and in runs/."""
    typed, slash, _ = incomplete.rpartition("/")
    places = [f"{typed}/"] if slash else ["", "runs/"]
    found = [place + name for place in places for name in _runs_in(Path(place))]
    return _beginning(incomplete, found)


def complete_resumed(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the runs that begin so, where the command line asks to resume one."""
    return complete_run(incomplete) if ctx.params.get("resume") else []


def _runs_in(folder: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in folder.iterdir() if (entry / _RUN_FILE).is_file())
    except OSError:  # what is typed is no folder
        return []


def _beginning(incomplete: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]
