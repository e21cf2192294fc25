"""`ivvit recipe`: the recipes that come with ivvit, and the check of any recipe."""

import shlex
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Annotated, Any

import typer

from ivvit_cli import console
from ivvit_cli.completion import complete_recipe
from ivvit_cli.errors import EnvironmentFault, InputError, UsageError

Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME|FILE", help="A shipped recipe or a file.", autocompletion=complete_recipe
    ),
]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Settings to change.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]

_WIDE = 120  # columns of a terminal that holds a recipe in two lines


def ls(
    pattern: Annotated[
        str | None, typer.Argument(help="A recipe's name, in which * is anything.")
    ] = None,
    costs: Annotated[
        bool, typer.Option("--costs", help="With parameters, and multiply-adds of a view.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List the recipes that come with ivvit, and what their models cost.

    Parameters count the heads of the published datasets. Multiply-adds are counted as in
    TimeSformer, CoVeR and AM Flow, and without attention's products as in TokenShift and MSCA.

    Examples:
      ivvit recipe ls
      ivvit recipe ls 'am-flow-*' --costs
      ivvit recipe ls --json
    """
    from ivvit_cli.recipes_dir import shipped_recipes

    names = [name for name in shipped_recipes() if fnmatch(name, pattern or "*")]
    if not names:
        raise UsageError(f"no recipe is named {pattern}", hint="`ivvit recipe ls` lists them all")
    if costs:
        _list_costs(names, as_json)
        return
    entries = [_entry(name) for name in names]
    if as_json:
        console.print_json(entries)
        return
    columns = ["name", "datasets", "temporal", "description"]
    if console.out.is_terminal and console.out.width < _WIDE:
        columns = ["name", "description"]
    rows = [[_cell(entry[column]) for column in columns] for entry in entries]
    console.table("Recipes", columns, rows)
    console.next_step("ivvit recipe show NAME, or ivvit train --recipe NAME; small: iv-vit-small")


def _cell(value: str | list[str]) -> str:
    return value if isinstance(value, str) else ", ".join(value)


def _list_costs(names: Sequence[str], as_json: bool) -> None:
    from ivvit_cli.config import load_recipe
    from ivvit_cli.tables.costs import COLUMNS, cost_of

    found = {}
    with console.progress("costs", len(names), "recipes") as bar:
        for name in names:
            found[name] = cost_of(load_recipe(name))
            bar.advance()
    if as_json:
        console.print_json([_entry(name) | cost.document() for name, cost in found.items()])
        return
    rows = [(name, *cost.cells()) for name, cost in found.items()]
    console.table("What recipes cost", ["name", *COLUMNS], rows)
    console.next_step("ivvit model info NAME")


def _entry(name: str) -> dict[str, Any]:
    from ivvit_cli.config import load_recipe

    recipe = load_recipe(name)
    return {
        "name": name,
        "datasets": list(recipe.data),
        "temporal": recipe.model.temporal.kind,
        "description": recipe.description,
    }


def show(
    name: Name,
    overrides: Overrides = None,
    raw: Annotated[bool, typer.Option("--raw", help="Print the file as it is.")] = False,
    as_json: Json = False,
) -> None:
    """Show a recipe with everything that it inherits and every default.

    Examples:
      ivvit recipe show iv-vit
      ivvit recipe show iv-vit-images --raw
      ivvit recipe show iv-vit optim.lr=3e-5 data.ucf101=null
    """
    from ivvit_cli.config import dump_recipe, load_recipe
    from ivvit_cli.config.files import find_recipe

    if raw and (overrides or as_json):
        raise UsageError("--raw prints the file as it is: leave out --json and the overrides")
    if raw:
        console.print_text(find_recipe(name).read_text(encoding="utf-8"))
        return
    recipe = load_recipe(name, overrides or [])
    if as_json:
        console.print_json(recipe.model_dump(mode="json"))
    else:
        console.print_text(dump_recipe(recipe))


def cp(
    name: Name,
    dest: Annotated[
        Path | None, typer.Argument(help="A file or folder; by default the working directory.")
    ] = None,
) -> None:
    """Copy a recipe, to make it your own.

    Examples:
      ivvit recipe cp iv-vit
      ivvit recipe cp iv-vit my-recipe.yaml
    """
    from ivvit_cli.config.files import find_recipe

    source = find_recipe(name)
    target = dest or Path()
    if target.is_dir():
        target = target / source.name
    if target.exists():
        raise UsageError(f"{target}: exists already", hint="give another name")
    if not target.parent.is_dir():
        raise InputError(f"{target.parent}: no such folder")
    target.write_bytes(source.read_bytes())
    console.print_text(console.clean(target))
    console.next_step(shlex.join(["ivvit", "recipe", "check", str(target)]))


def check(
    name: Name,
    overrides: Overrides = None,
    ready: Annotated[
        bool, typer.Option("--ready", help="Exit with 4 where shards or weights are not there yet.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Check a recipe: its keys and values, its backbone, and the shards that exist.

    The model is built without memory for its weights, unless those of a file or a run are to be
    tried on. Shards and weights that do not exist yet are named, and are no error but with --ready.

    Examples:
      ivvit recipe check my-recipe.yaml
      ivvit recipe check my-recipe.yaml --ready && ivvit train --recipe my-recipe.yaml
      ivvit recipe check iv-vit model.backbone=vit_small_patch16_224
    """
    from ivvit_cli.checking import check_job, what_lacks
    from ivvit_cli.config import load_recipe
    from ivvit_cli.training.job import job_of

    job = job_of(load_recipe(name, overrides or []))
    found = check_job(job)
    document, lacking = {"recipe": name, **found}, what_lacks(job, found)
    if as_json:
        console.print_json(document | {"ready": not lacking})
    else:
        _show_check(name, document, lacking)
        if not lacking:
            command = ["ivvit", "train", "--recipe", name, "--dry-run", *(overrides or [])]
            console.next_step(shlex.join(command))
    if ready and lacking:
        raise EnvironmentFault(f"{name} cannot be trained yet: {len(lacking)} not there")


def _show_check(name: str, document: dict[str, Any], lacking: Sequence[str]) -> None:
    model, weights = document["model"], document["weights"]
    size = f"{model['parameters'] / 1e6:.1f} M parameters, {model['size']} px"
    rows = [("keys and values", "good", ""), ("backbone", "good", size)]
    checked = {"weights": weights, **document["parts"], **document["datasets"]}
    rows += [(what, found["state"], found["detail"]) for what, found in checked.items()]
    console.table(f"Recipe {name}", ["what", "state", "detail"], rows)
    for hint in lacking:
        console.say(f"before training: {hint}")
