"""Shell completion, as a shell asks for it: through the environment of a process."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Result, clean_environment

from ivvit_cli.completion import complete_run
from ivvit_cli.recipes_dir import shipped_recipes, shipped_tables

Ivvit = Callable[..., Result]

NAMED = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}  # else it is the shell around us
HEAVY = {"torch", "torchvision", "timm", "numpy", "webdataset", "simplejpeg", "PIL", "matplotlib"}


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Return a folder with runs in it and below."""
    for name in ("runs/joint", "runs/images", "mine"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "recipe.yaml").touch()
    (tmp_path / "runs" / "tables").mkdir()
    return tmp_path


def asked(ivvit: Ivvit, line: str) -> list[str]:
    """Return what bash is offered for the last word of a line."""
    words = line.split(" ")
    env = {"COMP_WORDS": line, "COMP_CWORD": f"{len(words) - 1}"}
    done = ivvit(env=env | {"_IVVIT_COMPLETE": "complete_bash"})
    assert (done.code, done.stderr) == (0, "")
    return done.stdout.split()


def test_commands_and_options_are_completed(ivvit: Ivvit) -> None:
    assert asked(ivvit, "ivvit ben") == ["bench"]
    assert asked(ivvit, "ivvit bench ") == ["loader", "model", "step"]
    assert "--recipe" in asked(ivvit, "ivvit train --rec")


@pytest.mark.parametrize(
    "line",
    [
        *("ivvit train --recipe iv-", "ivvit bench step --recipe iv-", "ivvit recipe show iv-"),
        *("ivvit model info iv-", "ivvit explain x.jpg --model iv-"),
    ],
)
def test_names_of_recipes_are_completed(ivvit: Ivvit, line: str) -> None:
    expected = [name for name in shipped_recipes() if name.startswith("iv-")]
    assert asked(ivvit, line) == expected
    assert len(expected) > 5


def test_names_of_tables_are_completed(ivvit: Ivvit) -> None:
    expected = [name for name in shipped_tables() if name.startswith("msca")]
    assert asked(ivvit, "ivvit table msca") == expected
    assert expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("ivvit eval ", ["mine", "runs/images", "runs/joint"]),
        ("ivvit report runs/j", ["runs/joint"]),
        ("ivvit compare mine r", ["runs/images", "runs/joint"]),
        ("ivvit predict x.mp4 --ckpt m", ["mine"]),
        ("ivvit train --resume r", ["runs/images", "runs/joint"]),
        ("ivvit train --recipe demo r", []),
    ],
)
def test_runs_are_completed(ivvit: Ivvit, runs: Path, line: str, expected: list[str]) -> None:
    assert asked(ivvit, line) == expected


def test_runs_are_looked_for_beside_what_is_typed(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(runs)
    assert complete_run("runs/i") == ["runs/images"]
    assert complete_run(f"{runs}/m") == [f"{runs}/mine"]
    assert complete_run("./runs/joint") == ["./runs/joint"]
    assert complete_run("/") == []
    assert complete_run("nowhere/x") == complete_run("mine/recipe.yaml/x") == []


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_are_answered_in_their_words(ivvit: Ivvit, shell: str) -> None:
    env = {
        "_TYPER_COMPLETE_ARGS": "ivvit train --recipe tokshift",
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        "_IVVIT_COMPLETE": f"complete_{shell}",
    }
    done = ivvit(env=env)
    assert done.code == 0
    assert re.findall(r"[\w-]*tokshift[\w-]*", done.stdout) == [
        name for name in shipped_recipes() if name.startswith("tokshift")
    ]


def test_an_answer_loads_nothing_heavy() -> None:
    code = (
        "import atexit, sys; from ivvit_cli.app import run\n"
        "atexit.register(lambda: print(*sys.modules, file=sys.stderr)); run([])"
    )
    env = {"COMP_WORDS": "ivvit train --recipe d", "COMP_CWORD": "3"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=clean_environment() | env | {"_IVVIT_COMPLETE": "complete_bash"},
    )
    assert "demo" in done.stdout.split()
    assert "ivvit_cli.completion" in done.stderr.split()
    assert not (HEAVY | {"yaml"}) & set(done.stderr.split())


@pytest.mark.parametrize(
    ("shell", "file"),
    [
        ("bash", ".bash_completions/ivvit.sh"),
        ("zsh", ".zfunc/_ivvit"),
        ("fish", ".config/fish/completions/ivvit.fish"),
    ],
)
def test_completion_is_installed_for_a_shell(
    ivvit: Ivvit, tmp_path: Path, shell: str, file: str
) -> None:
    done = ivvit("--install-completion", shell, env={"HOME": str(tmp_path), **NAMED})
    assert done.code == 0
    assert f"{shell} completion installed in {tmp_path / file}" in done.stdout
    assert f"_IVVIT_COMPLETE=complete_{shell}" in (tmp_path / file).read_text()


def test_a_real_bash_completes_a_line(ivvit: Ivvit, runs: Path) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("there is no bash")
    script = ivvit("--show-completion", "bash", env=NAMED).stdout
    program = runs / "ivvit"
    program.write_text(f"#!/bin/sh\nexec '{sys.executable}' -m ivvit_cli \"$@\"\n")
    program.chmod(0o755)
    line = "COMP_WORDS=(ivvit eval runs/j); COMP_CWORD=2; _ivvit_completion ivvit"
    done = subprocess.run(
        [bash, "--norc", "-c", f'{script}\n{line}\necho "${{COMPREPLY[@]}}"'],
        cwd=runs,
        capture_output=True,
        text=True,
        env=clean_environment() | {"PATH": f"{runs}:{os.environ['PATH']}"},
    )
    assert done.stdout == "runs/joint\n", done.stderr
