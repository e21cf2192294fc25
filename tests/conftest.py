"""Fixtures for every test: the command line as a subprocess, and where real data lies."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ivvit_cli import app, console


@dataclass(frozen=True)
class Result:
    """What a command left behind."""

    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        return json.loads(self.stdout)


@pytest.fixture(autouse=True)
def _own_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep `-q` and `-v` of one test from the next."""
    monkeypatch.setattr(console, "settings", console.Settings())


@pytest.fixture
def ivvit(tmp_path: Path) -> Callable[..., Result]:
    """Run `ivvit ARGS…` in a process of its own, in `tmp_path` unless `cwd` says otherwise."""

    def run(*args: object, cwd: Path = tmp_path, env: Mapping[str, str] | None = None) -> Result:
        done = subprocess.run(
            [sys.executable, "-m", "ivvit_cli", *map(str, args)],
            cwd=cwd,
            env=clean_environment() | dict(env or {}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            timeout=300,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def ivvit_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Result]:
    """Run `ivvit ARGS…` in this process, in `tmp_path`: for many runs that need torch."""
    monkeypatch.chdir(tmp_path)
    for name in os.environ.keys() - clean_environment().keys():
        monkeypatch.delenv(name)

    def run_here(*args: object) -> Result:
        code = app.run([*map(str, args)])
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return run_here


def clean_environment() -> dict[str, str]:
    """Return this process's environment without what changes the output of a command."""
    noise = ("IVVIT_DATA", "IVVIT_DEBUG", "NO_COLOR", "FORCE_COLOR", "COLUMNS", "RANK", "TERM")
    return {name: value for name, value in os.environ.items() if name not in noise}


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Return the folder of real datasets that $IVVIT_TEST_DATA names, or skip."""
    return _folder("IVVIT_TEST_DATA", "real datasets")


@pytest.fixture(scope="session")
def oracle() -> Path:
    """Return the folder of the original code's outputs that $IVVIT_TEST_ORACLE names, or skip."""
    return _folder("IVVIT_TEST_ORACLE", "outputs of the original code")


def _folder(variable: str, content: str) -> Path:
    if variable not in os.environ:
        pytest.skip(f"${variable} does not name a folder of {content}")
    return Path(os.environ[variable])
