"""The run folder beside its checkpoints: recipe, environment, metrics and log."""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from ivvit_cli.errors import EnvironmentFault, InputError, UsageError
from ivvit_cli.runs import resume_command
from ivvit_cli.training.progress import RunProgress
from shards.files import write_atomically

RECIPE_FILE = "recipe.yaml"
ENVIRONMENT_FILE = "environment.json"
METRICS_FILE = "metrics.jsonl"
LOG_FILE = "log.txt"

_PACKAGES = ("ivvit", "torch", "torchvision", "timm", "numpy", "safetensors", "simplejpeg")
_VARIABLES = (  # that change what a run does or where it runs; none of them holds a secret
    "CUDA_VISIBLE_DEVICES",
    "IVVIT_DATA",
    "OMP_NUM_THREADS",
    "SLURM_JOB_ID",
    "WORLD_SIZE",
)


def default_run(recipe: str) -> Path:
    """Return runs/YYYYMMDD-HHMMSS-RECIPE for a run that starts now."""
    return Path("runs", f"{datetime.now():%Y%m%d-%H%M%S}-{Path(recipe).stem}")


def create_run(run: Path, recipe: str) -> None:
    """Make a run folder with its recipe (YAML text).

    Raises:
        UsageError: there is a run already.
        EnvironmentFault: the folder cannot be written.
    """
    if run.joinpath(RECIPE_FILE).exists():
        raise UsageError(
            f"{run}: there is a run already",
            hint=resume_command(run),
        )
    try:
        run.mkdir(parents=True, exist_ok=True)
        write_atomically(run / RECIPE_FILE, recipe.encode())
    except OSError as error:
        raise EnvironmentFault(f"{run}: cannot be written: {error.strerror}") from error


def require_run(run: Path) -> Path:
    """Return the recipe file of a run.

    Raises:
        InputError: the folder is not there or is no run.
    """
    path = run / RECIPE_FILE
    if not path.is_file():
        what = f"holds no {RECIPE_FILE}" if run.is_dir() else "no such run"
        raise InputError(f"{run}: {what}", hint="ivvit train --recipe … starts a run")
    return path


def record_start(run: Path, iteration: int, changes: Iterable[str] = ()) -> None:
    """Add a start to environment.json: versions, code, command and machine."""
    path = run / ENVIRONMENT_FILE
    starts = json.loads(path.read_text())["starts"] if path.exists() else []
    starts.append({"iteration": iteration, "changes": list(changes), **_environment()})
    write_atomically(path, (json.dumps({"starts": starts}, indent=1) + "\n").encode())


def _environment() -> dict[str, Any]:
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
        "versions": {"python": platform.python_version(), **dict(map(_version, _PACKAGES))},
        "git": _git_commit(),
        "machine": {
            "system": platform.platform(),
            "cores": os.cpu_count(),
            "torch_threads": torch.get_num_threads(),
            "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        },
        "variables": {name: os.environ[name] for name in _VARIABLES if name in os.environ},
    }


def _version(package: str) -> tuple[str, str | None]:
    try:
        return package, version(package)
    except PackageNotFoundError:
        return package, None


def _git_commit() -> dict[str, Any] | None:
    """Return the commit of the working directory and whether it was changed, if it has one."""
    try:
        head, changes = (
            subprocess.run(["git", *args], capture_output=True, text=True, check=True, timeout=10)
            for args in (("rev-parse", "HEAD"), ("status", "--porcelain", "--untracked-files=no"))
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": head.stdout.strip(), "changed": bool(changes.stdout.strip())}


def append_metrics(run: Path, lines: Iterable[Mapping[str, Any]]) -> None:
    """Add lines to metrics.jsonl."""
    with run.joinpath(METRICS_FILE).open("a") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)


def cut_metrics(run: Path, progress: RunProgress) -> None:
    """Drop from metrics.jsonl what came after the state that a run resumes from."""
    path = run / METRICS_FILE
    if path.exists():
        kept = [line for line in path.read_bytes().splitlines(True) if _precedes(line, progress)]
        write_atomically(path, *kept)


def _precedes(line: bytes, progress: RunProgress) -> bool:
    try:
        entry = json.loads(line)
    except ValueError:  # torn by a kill
        return False
    limit = progress.validated if entry["event"] == "eval" else progress.iteration
    return bool(entry["iteration"] <= limit)
