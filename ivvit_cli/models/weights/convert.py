"""Weights of others as a file of this package's names."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from torch import Tensor

from ivvit_cli.errors import EnvironmentFault, InputError, UsageError
from ivvit_cli.models.encoder import Encoder
from ivvit_cli.models.heads import head_key
from ivvit_cli.models.weights.classes import find_classifier, list_classifiers
from ivvit_cli.models.weights.files import save_tensors
from ivvit_cli.models.weights.fit import Fit
from ivvit_cli.models.weights.importers import import_state
from ivvit_cli.models.weights.load import fit_source
from ivvit_cli.models.weights.source import NOTE, Source, read_source


@dataclass(frozen=True)
class Converted:
    """A file of weights that was written.

    Attributes:
        path: where it is.
        note: what stands in it beside the tensors: `source`, its `sha256`, the `importer`, how many
            of the encoder's tensors were `loaded` as they were, which were `resized`, which are
            `missing` and `unused`, and the `classes` of each classifier, if known.
        tensors: how many it holds.
    """

    path: Path
    note: Mapping[str, Any]
    tensors: int


def convert_weights(
    source: str, path: Path, *, encoder: Encoder | None = None, head: str | None = None
) -> Converted:
    """Read weights as `load_weights` does, and write them under this package's names.

    A classifier comes along when its classes are known, or when it is asked for.

    Args:
        source: as in `load_weights`.
        path: a .safetensors file, which must not exist.
        encoder: what they have to fit; embeddings are resampled to it, and only what it takes is
            written. Without one, all tensors are written as they are.
        head: the name to give the source's classifier.

    Raises:
        InputError, UsageError, EnvironmentFault: as `load_weights`, or `path` cannot be written.
    """
    check_target(path)
    given = read_source(source)
    importer, state = import_state(given.tensors, source)
    if encoder is None:
        taken = [name for name in state if name.startswith("encoder.")]
        fit = Fit(tensors={name: state[name] for name in taken}, loaded=taken)
    else:
        fit = fit_source(state, encoder, given, importer, source)
    heads = _name_heads(state, given, head, source)
    # What a model derives of them, it derives when it loads them.
    tensors = {name: fit.tensors[name] for name in (*fit.loaded, *fit.resized)} | {
        target + key.removeprefix(prefix): value
        for prefix, target in heads.prefixes.items()
        for key, value in state.items()
        if key.startswith(prefix)
    }
    note = {
        "source": source,
        "sha256": given.digest(),
        "importer": given.note.get("importer", importer),
        "loaded": len(fit.loaded),
        "resized": fit.resized,
        "missing": fit.missing,
        "unused": _unused(state, fit, heads),
        "classes": heads.classes,
    }
    write_tensors(tensors, note, path)
    return Converted(path, note, len(tensors))


@dataclass(frozen=True)
class _Heads:
    """Which classifiers come along: the prefixes of their names there and here, their classes."""

    prefixes: Mapping[str, str]
    classes: Mapping[str, tuple[str, ...]]


def _name_heads(
    state: Mapping[str, Tensor], given: Source, head: str | None, source: str
) -> _Heads:
    found = list_classifiers(state)
    if head is None:
        known = {name: found[name] for name in found if name in given.classes}
        return _Heads(
            {prefix: prefix for prefix in known.values()},
            {name: given.classes[name] for name in known},
        )
    theirs = find_classifier(state, head, source)
    classes = {head: given.classes[theirs]} if theirs in given.classes else {}
    return _Heads({found[theirs]: f"heads.{head_key(head)}."}, classes)


def _unused(state: Mapping[str, Tensor], fit: Fit, heads: _Heads) -> list[str]:
    left = state.keys() - fit.tensors.keys()
    return sorted(key for key in left if not key.startswith(tuple(heads.prefixes)))


def check_target(path: Path) -> None:
    """Raise UsageError or InputError where no weights can be written."""
    if path.suffix != ".safetensors":
        raise UsageError(f"{path}: weights are written to a .safetensors file")
    if path.exists():
        raise UsageError(f"{path}: exists already", hint="give another name")
    if not path.parent.is_dir():
        raise InputError(f"{path.parent}: no such folder")


def write_tensors(tensors: Mapping[str, Tensor], note: Mapping[str, Any], path: Path) -> None:
    """Write a .safetensors file with a note, which is either whole or absent.

    Raises:
        EnvironmentFault: the disk is full or cannot be written.
    """
    new = path.with_name(f".{path.name}.{os.getpid()}")
    copies = {name: value.detach().clone().contiguous() for name, value in tensors.items()}
    try:
        save_tensors(copies, new, {NOTE: json.dumps(note)})
        with new.open("rb") as file:
            os.fsync(file.fileno())
        new.rename(path)
    except (OSError, SafetensorError) as error:
        new.unlink(missing_ok=True)
        reason = " ".join(str(error).split())
        raise EnvironmentFault(f"{path}: cannot be written: {reason}") from error
