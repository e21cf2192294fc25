"""The `ivvit` command: its tree, its global options, and how an error becomes an exit code.

The modules of the commands are light: each imports what it works with when it is called.
"""

import errno
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer
from rich.markup import escape
from typer.core import TyperCommand, TyperGroup

from ivvit_cli import __version__, console
from ivvit_cli.commands import (
    bench,
    compare,
    data,
    demo,
    doctor,
    eval,
    explain,
    export,
    index,
    model,
    predict,
    recipe,
    report,
    shard,
    table,
    train,
)
from ivvit_cli.errors import IvvitError, RecipeError

DATA, TRAIN, LOOK, TOOLS = "Data", "Train", "Look", "Tools"

# What a write or a close raises, without the name of the file.
_DISK_FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS)

EPILOG = """\b
[bold]Exit codes[/]  0 good, 1 a check or a run failed, 2 usage or recipe,
            3 bad input, 4 environment, 130 interrupted, 143 terminated
[bold]Streams[/]     stdout: the result (--json: one document), stderr: the rest
[bold]Variables[/]   IVVIT_DATA replaces data/, IVVIT_FFMPEG names an ffmpeg,
            IVVIT_DEBUG=1 shows tracebacks, NO_COLOR takes the colours away
"""

_GROUP: dict[str, Any] = {
    "no_args_is_help": True,
    "rich_markup_mode": "rich",
    "context_settings": {"help_option_names": ["-h", "--help"]},
}


class _PlainFlags:
    """Makes help show a flag without a type, as it takes no value."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters, with an empty word for the value of a flag."""
        params: list[Any] = super().get_params(ctx)  # type: ignore[misc]
        for param in params:
            if getattr(param, "is_flag", False):
                param.metavar = ""
        return params


class _Command(_PlainFlags, TyperCommand):
    pass


class _Group(_PlainFlags, TyperGroup):
    pass


app = typer.Typer(**_GROUP, cls=_Group, epilog=EPILOG, pretty_exceptions_enable=False)


def _help(function: Callable[..., None]) -> str:
    """Return the docstring as help text; only the paragraph `Examples:` keeps its lines."""
    paragraphs = escape(inspect.getdoc(function) or "").split("\n\n")
    return "\n\n".join(
        "\b\n" + paragraph if paragraph.startswith("Examples:") else " ".join(paragraph.split())
        for paragraph in paragraphs
    )


def _add(group: typer.Typer, name: str, function: Callable[..., None], panel: str) -> None:
    group.command(name, cls=_Command, help=_help(function), rich_help_panel=panel)(function)


def _add_group(name: str, about: str, panel: str, **functions: Callable[..., None]) -> None:
    group = typer.Typer(**_GROUP, cls=_Group, help=about)
    for command, function in functions.items():
        _add(group, command, function, "Commands")
    app.add_typer(group, name=name, rich_help_panel=panel)


_add(app, "shard", shard.shard, DATA)
_add_group(
    "data",
    "The shards: list, show, verify, index those of others.",
    DATA,
    ls=data.ls,
    show=data.show,
    verify=data.verify,
    index=index.index,
)
_add(app, "train", train.train, TRAIN)
_add_group(
    "recipe",
    "The recipes: list, show, copy, check.",
    TRAIN,
    ls=recipe.ls,
    show=recipe.show,
    cp=recipe.cp,
    check=recipe.check,
)
_add_group(
    "model",
    "The models: list, what one costs, import and export weights.",
    TRAIN,
    ls=model.ls,
    info=model.info,
    **{"import": model.import_},
    export=export.export,
)
_add(app, "eval", eval.evaluate, LOOK)
_add(app, "predict", predict.predict, LOOK)
_add(app, "table", table.table, LOOK)
_add(app, "compare", compare.compare, LOOK)
_add(app, "report", report.report, LOOK)
_add(app, "explain", explain.explain, LOOK)
_add_group(
    "bench",
    "Where your time goes: reading, the model, a whole step.",
    TOOLS,
    loader=bench.loader,
    model=bench.model,
    step=bench.step,
)
_add(app, "doctor", doctor.doctor, TOOLS)
_add(app, "demo", demo.demo, TOOLS)


def _print_version(wanted: bool) -> None:
    if wanted:
        console.print_text(f"ivvit {__version__}")
        raise typer.Exit


@app.callback()
def ivvit(
    quiet: Annotated[
        bool, typer.Option("-q", "--quiet", help="Only results, warnings and errors.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("-v", "--verbose", help="Show the traceback of an error.")
    ] = False,
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", callback=_print_version, is_eager=True),
    ] = False,
) -> None:
    """Train one Vision Transformer jointly on image and video datasets."""
    console.settings.quiet = quiet
    console.settings.verbose = verbose or bool(os.environ.get("IVVIT_DEBUG"))


def run(args: Sequence[str] | None = None) -> int:
    """Run a command line (by default this process's) and return its exit code."""
    try:
        return app(args, prog_name="ivvit", standalone_mode=False) or 0
    except KeyboardInterrupt:  # before the command, which makes one of its own a 130
        return 130
    except Exception as error:
        if console.settings.verbose:
            traceback.print_exception(error)
        return _report(error)


def _report(error: Exception) -> int:
    """Say what went wrong on stderr and return the exit code."""
    match error:
        case typer.TyperException():  # the arguments do not fit the tree of commands
            context = getattr(error, "ctx", None)
            if message := error.format_message():  # a bare group has shown its help instead
                said = message.replace("Value error, ", "")  # pydantic's word for what typer says
                console.fail(said, f"{context.command_path if context else 'ivvit'} --help")
            return error.exit_code
        case IvvitError():
            *others, last = error.faults if isinstance(error, RecipeError) else (error.message,)
            for fault in others:
                console.fail(fault)
            console.fail(last, error.hint)
            return error.exit_code
        case OSError(filename=str(name), strerror=str(reason)):
            console.fail(f"{name}: {reason}")
            return 3 if isinstance(error, FileNotFoundError) else 4
        case OSError(errno=number, strerror=str(reason)) if number in _DISK_FAULTS:
            console.fail(f"a file cannot be written or read: {reason}", "ivvit doctor")
            return 4
    summary = " ".join(str(error).split())
    console.fail(f"internal: {type(error).__name__}: {summary}", "ivvit -v … shows where")
    return 1


def main() -> None:
    """Run the command line of this process and end it, quietly also when its reader is gone."""
    # Idle OpenMP threads that spin take a busy machine's cores from those that work: 8 x the time.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    code = run()
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    sys.exit(code)
