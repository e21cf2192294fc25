"""Where weights come from: timm, the Hugging Face hub, a file, a folder, a run."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor

from ivvit_cli.errors import EnvironmentFault, InputError, UsageError
from ivvit_cli.models.backbone import check_vit_name
from ivvit_cli.models.weights.files import read_notes
from ivvit_cli.models.weights.hub import downloading, fetch
from ivvit_cli.models.weights.repository import (
    WEIGHT_FILES,
    class_names,
    find_weights,
    read_config,
    read_weights,
    weight_files,
)
from ivvit_cli.runs import (
    CHECKPOINTS,
    META_FILE,
    WEIGHTS_FILE,
    check_file,
    digest_file,
    find_checkpoint,
    read_meta,
)

NOTE = "ivvit"  # the key of our note in a file of weights that `ivvit model import` wrote


@dataclass(frozen=True)
class Source:
    """Weights as they were found.

    Attributes:
        tensors: by the names that their authors gave them.
        files: where they were read from; none for timm's.
        classes: the class names of each classifier, in the order of its rows, where they are
            known: by dataset for those of a run, under "" for the only one.
        config: Hugging Face's config.json.
        note: what `ivvit model import` has noted about them.
    """

    tensors: dict[str, Tensor]
    files: tuple[Path, ...] = ()
    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    note: Mapping[str, Any] = field(default_factory=dict)

    def digest(self) -> str:
        """Return the sha256 of the file, of several in the order of names, or of the tensors."""
        if len(self.files) == 1:
            return digest_file(self.files[0])
        total = hashlib.sha256()
        for path in self.files:
            total.update(digest_file(path).encode())
        for name in sorted(self.tensors) if not self.files else ():
            total.update(name.encode())
            content = self.tensors[name].contiguous().flatten().view(torch.uint8)
            total.update(content.numpy().tobytes())
        return total.hexdigest()


def is_remote(source: str) -> bool:
    """Tell whether a source may have to be downloaded."""
    return source.startswith(("timm:", "hf:"))


def is_run(source: str) -> bool:
    """Tell whether a source on this machine is a run or a checkpoint, not plain weights."""
    path = Path(source).expanduser()
    if not path.is_dir():
        return source.startswith("run:") or (not path.exists() and "@" in source)
    alone = find_weights(path) is None
    return alone or (path / META_FILE).is_file() or (path / CHECKPOINTS).is_dir()


def read_source(source: str) -> Source:
    """Read `timm:NAME`, `hf:REPO[/FILE]`, a file, a folder of the hub's, a run or a checkpoint.

    A run may be written `run:RUN`; one that is not there yet is then no fault of the user's.

    Raises:
        InputError: the file is damaged, of an unknown format, or holds more than tensors.
        UsageError: timm knows no such weights.
        EnvironmentFault: the file is absent or cannot be downloaded.
    """
    scheme, _, name = source.partition(":")
    if scheme == "timm":
        return Source(_read_timm(name))
    if scheme == "hf":
        return _read_file(fetch(name))
    if scheme == "run":
        return _read_run(_find_run(name))
    path = Path(source).expanduser()
    if not path.exists() and "@" not in source:
        raise EnvironmentFault(f"{path}: no such file of weights", hint=_where_to_get(path))
    if is_run(source):
        return _read_run(path)
    return _read_file(path if path.is_file() else _weights_in(path))


def _find_run(reference: str) -> Path:
    path = Path(reference).expanduser()
    run = path if path.exists() else Path(str(path).rpartition("@")[0] or path)
    if not run.exists():
        hint = f"train it first, with --run {run}, or name another: model.weights=run:RUN"
        raise EnvironmentFault(f"{run}: no such run", hint=hint)
    return path


def _weights_in(folder: Path) -> Path:
    weights = find_weights(folder)
    assert weights is not None  # else it would be a run
    return weights


def _read_file(path: Path) -> Source:
    # Another file than the hub's own lies beside a config.json by chance.
    config = read_config(path.parent) if path.name in WEIGHT_FILES else {}
    note = _read_note(path)
    named = class_names(config)
    return Source(
        read_weights(path),
        files=tuple(weight_files(path)),
        classes=({"": named} if named else {}) | note.get("classes", {}),
        config=config,
        note=note,
    )


def _read_note(path: Path) -> Mapping[str, Any]:
    try:
        note = json.loads(read_notes(path).get(NOTE, "{}"))
        classes = {name: tuple(map(str, names)) for name, names in note["classes"].items()}
        return {"importer": str(note["importer"]), "classes": classes}
    except KeyError:
        return {}
    except (AttributeError, TypeError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: its note is damaged: {error}") from None


def _read_run(path: Path) -> Source:
    """Read a run's checkpoint, checked by its hash, with what it names instead of storing it."""
    from ivvit_cli.models.weights.frozen import complete  # which reads sources itself

    checkpoint = find_checkpoint(path)
    meta = read_meta(checkpoint)
    file = check_file(checkpoint, meta, WEIGHTS_FILE)
    classes = {name: head.classes for name, head in meta.heads.items()}
    weights = complete(read_weights(file), meta, checkpoint)
    return Source(weights, files=(file,), classes=classes)


def _read_timm(name: str) -> dict[str, Tensor]:
    check_vit_name(name)
    try:
        config = timm.get_pretrained_cfg(name)
    except RuntimeError:  # an unknown tag
        config = None
    if config is None or not config.has_weights:
        tags = ", ".join(timm.list_pretrained(f"{name.partition('.')[0]}.*"))
        hint = f"it has {tags}" if tags else "it has none for this model"
        raise UsageError(f"timm:{name}: timm has no such weights", hint=hint)
    with downloading(f"timm:{name}"):
        state: dict[str, Tensor] = timm.create_model(name, pretrained=True).state_dict()
    return state


def _where_to_get(path: Path) -> str:
    if "tokshift" in path.name:
        return (
            "github.com/VideoNetworks/TokShift-Transformer links it (TokShift, Base-16, 224 & 8); "
            "a start without it: model.weights=timm:vit_base_patch16_224.orig_in21k"
        )
    return "model.weights=… takes timm:NAME, hf:REPO, a file, a run, or null for random weights"
