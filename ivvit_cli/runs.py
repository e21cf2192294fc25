"""A run folder as its readers see it: which checkpoints it holds, and the model inside one.

    RUN/checkpoints/step-00020000/{model.safetensors, state.pt, meta.json}
    RUN/checkpoints/last -> step-…          RUN/checkpoints/best-DATASET -> step-…

A checkpoint folder gets its name only when it is complete (`ivvit_cli.training.checkpoint`), so
every `step-…` that exists is whole unless the disk or a person damaged it, which the hashes tell.
"""

import hashlib
import json
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from ivvit_cli.bounded import bounded_memory
from ivvit_cli.errors import InputError
from ivvit_cli.meta import SCHEMA, Meta

if TYPE_CHECKING:
    import torch

    from ivvit_cli.models import JointModel

CHECKPOINTS = "checkpoints"
META_FILE = "meta.json"
STATE_FILE = "state.pt"
WEIGHTS_FILE = "model.safetensors"

_STEP = re.compile(r"step-(\d+)")


class DamagedCheckpoint(InputError):
    """A checkpoint whose files do not fit their hashes."""


def step_name(iteration: int) -> str:
    """Return the name of the checkpoint after so many iterations."""
    return f"step-{iteration:08d}"


def iteration_of(checkpoint: Path) -> int:
    """Return the iteration that a checkpoint folder's name states."""
    match = _STEP.fullmatch(checkpoint.name)
    if match is None:
        raise InputError(f"{checkpoint}: the name of a checkpoint is step-N")
    return int(match[1])


def list_checkpoints(run: Path) -> list[Path]:
    """Return a run's checkpoint folders, the oldest first."""
    folders = run.joinpath(CHECKPOINTS).glob("step-*")
    return sorted((path for path in folders if _STEP.fullmatch(path.name)), key=iteration_of)


def find_checkpoint(reference: str | Path) -> Path:
    """Return the checkpoint folder that `RUN`, `RUN@best-DATASET`, `RUN@step-N` or a path names.

    Raises:
        InputError: there is no such run or checkpoint; the message lists what there is.
    """
    path, selector = _split_reference(str(reference))
    if path.joinpath(META_FILE).is_file():
        return path.resolve()
    if not path.is_dir():
        raise InputError(f"{path}: no such run", hint="`ls runs` shows the runs of this folder")
    checkpoints = list_checkpoints(path)
    if not checkpoints:
        raise InputError(
            f"{path}: holds no checkpoint",
            hint=f"{resume_command(path)} would write one",
        )
    if selector is None:
        return checkpoints[-1]
    return _select(path, selector, checkpoints)


def resume_command(run: Path) -> str:
    """Return the command that continues a run, quoted for a shell."""
    return shlex.join(["ivvit", "train", "--resume", str(run)])


def _split_reference(reference: str) -> tuple[Path, str | None]:
    head, at, selector = reference.rpartition("@")
    if not at or Path(reference).exists():
        return Path(reference), None
    return Path(head), selector


def _select(run: Path, selector: str, checkpoints: list[Path]) -> Path:
    links = sorted(run.joinpath(CHECKPOINTS).glob("best-*"))
    by_name = {link.name: link.resolve() for link in (*links, run / CHECKPOINTS / "last")}
    step = _STEP.fullmatch(selector)
    name = step_name(int(step[1])) if step else selector
    by_name |= {path.name: path for path in checkpoints}
    chosen = by_name.get(name)
    if chosen is None or not chosen.is_dir():
        there = ", ".join([*(link.name for link in links), *_shown(checkpoints)])
        raise InputError(f"{run}: has no checkpoint {selector!r}", hint=f"it has {there}")
    return chosen


def _shown(checkpoints: list[Path]) -> list[str]:
    return [f"step-{iteration_of(path)}" for path in checkpoints]


def read_meta(checkpoint: Path) -> Meta:
    """Read and check a checkpoint's `meta.json`.

    Raises:
        DamagedCheckpoint: it is missing or damaged.
        InputError: another schema version wrote it.
    """
    path = checkpoint / META_FILE
    try:
        document = json.loads(path.read_bytes())
        version = document.get("schema")
        if document.get("sha256") != digest_document(document):
            raise ValueError("it does not fit its own hash")
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise _damaged(path, str(error)) from None
    if version != SCHEMA:
        raise InputError(
            f"{path}: checkpoint schema {version}, but this ivvit reads {SCHEMA}",
            hint="use the version of ivvit that wrote it",
        )
    try:
        return Meta.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        raise _damaged(path, f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def check_files(checkpoint: Path, meta: Meta) -> None:
    """Compare every file of a checkpoint with its hash in `meta`.

    Raises:
        DamagedCheckpoint: a file is missing or damaged.
    """
    for name in meta.files:
        check_file(checkpoint, meta, name)


def check_file(checkpoint: Path, meta: Meta, name: str) -> Path:
    """Compare one file of a checkpoint with its hash in `meta`, and return its path.

    Raises:
        DamagedCheckpoint: the file is missing or damaged.
    """
    path = checkpoint / name
    if Path(name).name != name or not path.is_file():  # elsewhere, or a pipe that never ends
        raise _damaged(path, "there is no such file")
    try:
        actual = digest_file(path)
    except OSError as error:
        raise _damaged(path, error.strerror or str(error)) from None
    if actual != meta.files.get(name):
        raise _damaged(path, "it does not fit its hash in meta.json")
    return path


def load_model(
    checkpoint: Path, device: "torch.device | str", backbone: str | None = None
) -> "tuple[JointModel, Meta]":
    """Build the model of a checkpoint on `device`, in evaluation mode.

    Args:
        backbone: where the frozen weights are that it names, if not where it says.

    Raises:
        InputError: the checkpoint is damaged, or its weights do not fit the model of its meta.json.
        EnvironmentFault: frozen weights are not there.
    """
    import torch
    from safetensors.torch import load_file

    from ivvit_cli.models import build_model
    from ivvit_cli.models.weights.frozen import complete

    meta = read_meta(checkpoint)
    weights = load_file(check_file(checkpoint, meta, WEIGHTS_FILE), device="cpu")
    heads = {name: len(head.classes) for name, head in meta.heads.items()}
    with bounded_memory(checkpoint / WEIGHTS_FILE), torch.device("meta"):
        bare = build_model(meta.model, heads)
    weights = complete(weights, meta, checkpoint, backbone)
    _check_fit(bare, weights, checkpoint)  # before it takes memory
    model = build_model(meta.model, heads)
    fit_weights(model, weights, checkpoint)
    return model.to(device).eval(), meta


def fit_weights(model: "JointModel", weights: "dict[str, torch.Tensor]", checkpoint: Path) -> None:
    """Load `weights` into `model`; every tensor must have its place and shape.

    Raises:
        InputError: a tensor is missing, superfluous or of another shape; the message names one.
    """
    _check_fit(model, weights, checkpoint)
    model.load_state_dict(weights)


def _check_fit(model: "JointModel", weights: "dict[str, torch.Tensor]", checkpoint: Path) -> None:
    own = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    given = {name: tuple(value.shape) for name, value in weights.items()}
    for name in sorted(own.keys() | given.keys()):
        if own.get(name) != given.get(name):
            raise InputError(
                f"{checkpoint}: {name} is {given.get(name, 'absent')} in the weights, "
                f"but {own.get(name, 'absent')} in the model that {META_FILE} describes"
            )


def digest_file(path: Path) -> str:
    """Return the sha256 of a file as hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_document(document: dict[str, Any]) -> str:
    """Return the sha256 of a JSON document, its own `sha256` entry left out."""
    rest = {key: value for key, value in document.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _damaged(path: Path, what: str) -> DamagedCheckpoint:
    others = [p for p in path.parent.parent.glob("step-*") if p.name != path.parent.name]
    names = ", ".join(sorted(p.name for p in others))
    return DamagedCheckpoint(
        f"{path}: damaged: {what}",
        hint=f"other checkpoints of this run: {names}" if names else None,
    )
