"""Recipe files: found by name or path, read together with what they extend."""

from pathlib import Path

from ivvit_cli.config.overrides import suggest_one
from ivvit_cli.config.tree import Tree, merge, read_tree
from ivvit_cli.config.yamlio import MAX_BYTES
from ivvit_cli.errors import RecipeError
from ivvit_cli.recipes_dir import shipped_recipes


def find_recipe(name: str, folder: Path | None = None) -> Path:
    """Return the file of a recipe, given by path (relative to `folder`) or by shipped name.

    Raises:
        RecipeError: there is neither such a file nor a shipped recipe of that name.
    """
    path = Path(folder or "", name)
    shipped = shipped_recipes()
    if path.is_file():
        return path
    if name.removesuffix(".yaml") in shipped:
        return shipped[name.removesuffix(".yaml")]
    hint = "ivvit recipe ls names the shipped recipes"
    if "/" in name or path.suffix in (".yaml", ".yml"):
        raise RecipeError(f"{path}: no such file", hint=hint)
    raise RecipeError(f"no recipe {name!r}{suggest_one(name, shipped)}", hint=hint)


def read_recipe(path: Path) -> Tree:
    """Read a recipe file laid over the one that it extends, and so on.

    Raises:
        RecipeError: a file cannot be read, or a recipe extends itself.
    """
    chain: list[Path] = []
    trees: list[Tree] = []
    following: Path | None = path
    while following is not None:
        tree = _read_file(following)
        chain.append(following.resolve())
        trees.append(tree)
        following = _parent(tree, following, chain)
    merged = trees.pop()
    while trees:
        merged = merge(merged, trees.pop())
    return merged


def _read_file(path: Path) -> Tree:
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(MAX_BYTES + 1)  # one more is too many, as `parse` will say
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}:1: cannot be read: {error}") from None
    tree = read_tree(text, str(path))
    if not isinstance(tree.value, dict):
        raise RecipeError(f"{path}:1: a recipe is a mapping of sections (`model:`, `data:`, …)")
    return tree


def _parent(tree: Tree, path: Path, chain: list[Path]) -> Path | None:
    """Take `extends` out of a tree and return the file that it names."""
    name = tree.value.pop("extends", None)
    if name is None:
        return None
    place = tree.place(("extends",))
    if not isinstance(name, str):
        raise RecipeError(f"{place}: extends: must be the name or the path of one recipe")
    try:
        parent = find_recipe(name, path.parent)
    except RecipeError as error:
        raise RecipeError(f"{place}: extends: {error.message}", hint=error.hint) from None
    if parent.resolve() in chain:
        names = " -> ".join(step.stem for step in [*chain, parent])
        raise RecipeError(f"{place}: extends: goes round in a circle: {names}")
    return parent
