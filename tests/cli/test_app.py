"""The command line as a whole: streams, exit codes, words, and what reaches a terminal."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Result, clean_environment

import ivvit_cli

Ivvit = Callable[..., Result]

COLOUR = re.compile(r"\x1b\[[0-9;]*3[0-7][0-9;]*m")


def run_failing(statement: str, *args: str, env: dict[str, str] | None = None) -> Result:
    """Run `ivvit ARGS… boom` in a process where the command `boom` is one statement."""
    code = (
        "import sys\n"
        "from ivvit_cli import app, errors\n"
        "def boom() -> None:\n"
        f"    {statement}\n"
        "app.app.command('boom')(boom)\n"
        "sys.exit(app.run(sys.argv[1:]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *args, "boom"],
        capture_output=True,
        text=True,
        env=clean_environment() | (env or {}),
    )
    return Result(done.returncode, done.stdout, done.stderr)


def test_the_version_is_a_result(ivvit: Ivvit) -> None:
    assert ivvit("--version") == Result(0, f"ivvit {ivvit_cli.__version__}\n", "")


def test_help_shows_flags_without_a_value(ivvit: Ivvit) -> None:
    for args in ((), ("recipe",), ("train",), ("shard",)):
        assert "<bool>" not in ivvit(*args, "--help").stdout
    assert "<int>" in ivvit("shard", "--help").stdout


def test_a_bare_command_shows_its_help(ivvit: Ivvit) -> None:
    for args in ((), ("recipe",)):
        done = ivvit(*args)
        assert done.code == 2
        assert "Usage: ivvit" in done.stdout
        assert done.stderr == ""


def test_help_documents_the_exit_codes(ivvit: Ivvit) -> None:
    text = " ".join(ivvit("--help").stdout.split())
    for code in ("0 good", "1 a check", "2 usage", "3 bad input", "4 environment", "130", "143"):
        assert code in text


@pytest.mark.parametrize(
    ("args", "error", "hint"),
    [
        (["recpe"], "No such command 'recpe'. Did you mean 'recipe'?", "ivvit --help"),
        (["recipe", "shwo"], "No such command 'shwo'. Did you mean 'show'?", "ivvit recipe --help"),
        (["recipe", "show"], "Missing argument 'NAME|FILE'.", "ivvit recipe show --help"),
        (
            ["eval", "runs/x", "--frames", "back"],
            "Invalid value for '--frames': 'back' is not one of "
            "'normal', 'reverse', 'shuffle', 'freeze'.",
            "ivvit eval --help",
        ),
        (["recipe", "ls", "--jsno"], "No such option: --jsno", "ivvit recipe ls --help"),
        (
            ["recipe", "show", "iv-vti"],
            "no recipe 'iv-vti' — did you mean 'iv-vit'?",
            "ivvit recipe ls",
        ),
        (["train", "my.yaml"], "my.yaml: not of the form key=value", "is --recipe missing?"),
        (["train", "."], ".: not of the form key=value", "is --resume missing?"),
    ],
)
def test_a_misspelt_command_line_exits_2(
    ivvit: Ivvit, args: list[str], error: str, hint: str
) -> None:
    done = ivvit(*args)
    assert (done.code, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {error}")
    assert f"hint: {hint}" in done.stderr or not hint


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("raise errors.IvvitError('a b', hint='do c')", 1),
        ("raise errors.UsageError('a b', hint='do c')", 2),
        ("raise errors.RecipeError('a b', hint='do c')", 2),
        ("raise errors.InputError('a b', hint='do c')", 3),
        ("raise errors.EnvironmentFault('a b', hint='do c')", 4),
        ("raise errors.RunInterrupted('a b', hint='do c', signal_number=2)", 130),
        ("raise errors.RunInterrupted('a b', hint='do c', signal_number=15)", 143),
    ],
)
def test_an_error_is_one_line_a_hint_and_its_exit_code(statement: str, code: int) -> None:
    assert run_failing(statement) == Result(code, "", "error: a b\nhint: do c\n")


@pytest.mark.parametrize(
    ("statement", "error", "code"),
    [
        ("open('/nowhere/x')", "/nowhere/x: No such file or directory", 3),
        ("open('/', 'w')", "/: Is a directory", 4),
        ("raise OSError(28, 'No space left on device', 'y')", "y: No space left on device", 4),
        ("open('a\\nerror: b')", "a\\nerror: b: No such file or directory", 3),
    ],
)
def test_the_file_system_s_errors_name_the_file(statement: str, error: str, code: int) -> None:
    assert run_failing(statement) == Result(code, "", f"error: {error}\n")


def test_a_full_disk_is_the_environment_s_fault_though_no_file_is_named() -> None:
    done = run_failing("open('/dev/full', 'w').write('x' * 100_000)")
    assert (done.code, done.stdout) == (4, "")
    assert done.stderr.startswith("error: a file cannot be written or read: No space left")


def test_each_of_several_faults_is_a_line() -> None:
    done = run_failing("raise errors.RecipeError('f:1: a', 'f:2: b', hint='c')")
    assert done.stderr == "error: f:1: a\nerror: f:2: b\nhint: c\n"


def test_a_line_break_in_a_name_starts_no_line() -> None:
    for kind in ("InputError", "RecipeError"):
        done = run_failing(f"raise errors.{kind}('a\\nerror: b', hint='c\\nd')")
        assert done.stderr == "error: a\\nerror: b\nhint: c\\nd\n"


def test_an_unforeseen_error_is_one_line_without_traceback() -> None:
    done = run_failing("raise ValueError('first\\nsecond')")
    assert (done.code, done.stdout) == (1, "")
    assert done.stderr.startswith("error: internal: ValueError: first second\n")
    assert "Traceback" not in done.stderr


def test_a_traceback_is_there_for_those_who_ask() -> None:
    for done in (
        run_failing("1 / 0", "-v"),
        run_failing("1 / 0", env={"IVVIT_DEBUG": "1"}),
        run_failing("raise errors.InputError('a')", "--verbose"),
    ):
        assert "Traceback" in done.stderr
        assert done.stdout == ""


def test_ctrl_c_exits_130_in_silence() -> None:
    done = run_failing("raise KeyboardInterrupt")
    assert (done.code, done.stdout) == (130, "")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("ignored", [False, True])
def test_ctrl_c_while_modules_load_exits_130_in_silence(
    ivvit: Ivvit, tmp_path: Path, ignored: bool
) -> None:
    (tmp_path / "typer.py").write_text(
        "import os, signal, sys\nos.kill(os.getpid(), signal.SIGINT)\nsys.exit('went on')\n"
    )
    handler = signal.SIG_IGN if ignored else signal.default_int_handler
    before = signal.signal(signal.SIGINT, handler)  # what is ignored, a child ignores, too
    try:
        done = ivvit("recipe", "show", "iv-vit", env={"PYTHONPATH": str(tmp_path)})
    finally:
        signal.signal(signal.SIGINT, before)
    assert done == (Result(1, "", "went on\n") if ignored else Result(130, "", ""))


def test_ctrl_c_while_the_tree_of_commands_is_built_exits_130_in_silence() -> None:
    code = (
        "import sys\n"
        "from ivvit_cli import app\n"
        "def interrupt() -> None:\n"
        "    raise KeyboardInterrupt\n"
        "def boom(x: 'interrupt()') -> None:\n"
        "    pass\n"
        "app.app.command('boom')(boom)\n"
        "sys.exit(app.run(['--help']))\n"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, env=clean_environment())
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_a_reader_that_leaves_is_no_error() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "ivvit_cli", "recipe", "show", "iv-vit"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=clean_environment(),
    )
    assert process.stdout is not None
    process.stdout.close()
    _, stderr = process.communicate()
    assert (process.returncode, stderr) == (1, b"")


def test_results_go_to_stdout_and_hints_to_stderr(ivvit: Ivvit) -> None:
    done = ivvit("recipe", "ls", "--json")
    assert isinstance(done.json, list)
    table = ivvit("recipe", "ls")
    assert "next: ivvit" in table.stderr
    assert "next:" not in table.stdout
    assert ivvit("-q", "recipe", "ls") == Result(0, table.stdout, "")


def test_a_pipe_gets_neither_styles_nor_folded_lines(ivvit: Ivvit) -> None:
    done = ivvit("recipe", "ls", env={"COLUMNS": "20"})
    assert "\x1b" not in done.stdout + done.stderr
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("iv-vit "))
    assert "tiny-imagenet, cifar100, ucf101, mini-kinetics" in line


def test_no_color_takes_the_colours_away(ivvit: Ivvit) -> None:
    coloured = ivvit("recipe", "show", "nothing", env={"FORCE_COLOR": "1"})
    plain = ivvit("recipe", "show", "nothing", env={"FORCE_COLOR": "1", "NO_COLOR": "1"})
    assert COLOUR.search(coloured.stderr)
    assert not COLOUR.search(plain.stderr)


@pytest.mark.parametrize("name", [b"a\x1b[31mb\x07.yaml", b"a\xff.yaml", "a\u202eb.yaml".encode()])
def test_a_hostile_file_name_cannot_reach_the_terminal(
    ivvit: Ivvit, tmp_path: Path, name: bytes
) -> None:
    path = Path(os.fsdecode(name))
    (tmp_path / path).write_text("model: {bad: 1}\n")
    done = ivvit("recipe", "check", path, env={"FORCE_COLOR": "1", "NO_COLOR": "1"})
    assert done.code == 2
    visible = re.sub(r"\x1b\[[01]m", "", done.stderr)  # the `error:` itself is bold
    assert "model.bad: unknown key" in visible
    assert all(char.isprintable() for line in visible.splitlines() for char in line)
