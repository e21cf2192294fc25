"""A table of a paper: its rows are recipes with settings of their own, and the printed numbers."""

import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from ivvit_cli.config.messages import explain
from ivvit_cli.config.overrides import suggest
from ivvit_cli.config.section import Section
from ivvit_cli.config.tree import Tree, read_tree
from ivvit_cli.errors import RecipeError
from ivvit_cli.recipes_dir import shipped_tables

Percent = Annotated[float, Field(ge=0, le=100)]
Points = Annotated[float, Field(ge=-100, le=100)]


class TableRow(Section):
    """One row.

    `set` are overrides of the recipe; `printed` is the table's metric in percent by dataset, empty
    where a paper prints none, and `top5` what it prints beside it. `gains` are printed as
    percentage points above other rows. `start` is the row above whose run the weights come from,
    and `frames` the order of a clip's frames at evaluation. A row `of` another is that row's run,
    evaluated anew.
    """

    recipe: str = ""
    set: tuple[str, ...] = ()
    of: str = ""
    start: str = ""
    frames: Literal["normal", "reverse", "shuffle", "freeze"] = "normal"
    printed: dict[str, Percent]
    top5: dict[str, Percent] = Field(default_factory=dict)
    gains: dict[str, dict[str, Points]] = Field(default_factory=dict)
    note: str = ""


class Table(Section):
    """A table.

    `views` are those of its evaluation; `lacks` says what nobody outside can have.
    """

    title: str
    source: str
    views: Annotated[str, Field(pattern=r"^[1-9][0-9]*x[1-9][0-9]*$")] = "1x1"
    metric: Literal["top1", "mean_class"] = "top1"
    lacks: str = ""
    rows: Annotated[dict[str, TableRow], Field(min_length=1)]

    def source_of(self, name: str) -> TableRow:
        """Return the row whose run a row is: itself, or the one that it is `of`."""
        row = self.rows[name]
        return self.rows[row.of] if row.of else row


def load_table(name: str) -> Table:
    """Read a table that comes along, or a file of one.

    Raises:
        RecipeError: there is none, or one line per fault, each `file:line: key: what is wrong`.
    """
    path = _find(name)
    try:
        tree = read_tree(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}:1: cannot be read: {error}") from None
    try:
        table = Table.model_validate_json(json.dumps(tree.value), strict=True)
    except ValidationError as error:
        raise RecipeError(*explain(error, tree, Table)) from None
    _check_references(table, tree)
    return table


def _check_references(table: Table, tree: Tree) -> None:
    """Refuse a row that names no recipe, or a row that there is not (for its `start`: above)."""
    above: set[str] = set()
    for name, row in table.rows.items():
        place = f"{tree.place(('rows', name))}: rows.{name}"
        if bool(row.recipe) == bool(row.of) or (row.of and row.of not in table.rows):
            raise RecipeError(f"{place}: is of a recipe or a row")
        if row.start and row.start not in above:
            raise RecipeError(f"{place}.start: no row {row.start!r} with a recipe stands above")
        for other in row.gains:
            if other not in table.rows:
                raise RecipeError(f"{place}.gains: no row {other!r}")
        above |= {name} if row.recipe else set()


def _find(name: str) -> Path:
    shipped = shipped_tables()
    if Path(name).is_file():
        return Path(name)
    if name in shipped:
        return shipped[name]
    raise RecipeError(f"no table {name!r}{suggest(name, shipped, 'tables')}")
