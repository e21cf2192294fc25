"""What importers share: renaming, joining what is split, the names of `JointModel`."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ivvit_cli.models.heads import head_key

State = dict[str, Tensor]
Given = Mapping[str, Tensor]
Names = Iterable[tuple[str, str]]

_PARTS = ("query", "key", "value")


@dataclass(frozen=True)
class Importer:
    """One naming of others.

    Attributes:
        matches: whether a state dict, its wrappers' prefixes taken off, is of this naming.
        convert: from this naming to that of `JointModel.state_dict()`; a classifier of one dataset
            goes under `head.`, those of several under `heads.DATASET.`, as if each were a `Head`.
        places: where the source computes the embeddings of place of its tubelets instead of storing
            them: the formula, from their number and width to (1, number, width).
    """

    matches: Callable[[Given], bool]
    convert: Callable[[Given], State]
    places: Callable[[int, int], Tensor] | None = None


def rename(state: Given, names: Names) -> State:
    """Replace patterns in every name, one pattern after the other."""
    renamed = dict(state)
    for pattern, replacement in names:
        renamed = {re.sub(pattern, replacement, key): value for key, value in renamed.items()}
    return renamed


def join_qkv(state: Given) -> State:
    """Join `.attn.query`, `.attn.key` and `.attn.value`, where all are, into timm's `.attn.qkv`."""
    joined = dict(state)
    for key in state:
        if match := re.fullmatch(r"(.*\.attn\.)query\.(weight|bias)", key):
            parts = [f"{match[1]}{part}.{match[2]}" for part in _PARTS]
            if all(part in state for part in parts):
                joined[f"{match[1]}qkv.{match[2]}"] = torch.cat([joined.pop(p) for p in parts])
    return joined


def place(state: Given) -> State:
    """Put timm's names where `JointModel` has them."""
    return {_place(key): value for key, value in state.items()}


def _place(key: str) -> str:
    if match := re.fullmatch(r"head\.(?:fc\.)?(weight|bias)", key):
        return f"head.linears.0.{match[1]}"
    if match := re.fullmatch(r"heads\.([^.]+)\.(weight|bias)", key):
        return f"heads.{head_key(match[1])}.linears.0.{match[2]}"
    return f"encoder.vit.{key}"


def tokenizer_is(state: Given, name: str, *ndims: int) -> bool:
    """Tell whether a tokenizer's kernel is there and has one of these numbers of dimensions."""
    return name in state and state[name].ndim in ndims
