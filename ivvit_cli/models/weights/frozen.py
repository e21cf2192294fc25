"""Frozen weights, which a checkpoint names instead of storing them."""

import hashlib
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ivvit_cli.errors import EnvironmentFault, InputError
from ivvit_cli.models.joint import JointModel, build_model
from ivvit_cli.models.weights.hub import offline
from ivvit_cli.models.weights.load import match_weights
from ivvit_cli.models.weights.source import is_remote, is_run, read_source

if TYPE_CHECKING:
    from ivvit_cli.meta import Meta


@dataclass(frozen=True)
class Frozen:
    """Parameters that are as their source has them, and stay so.

    Args:
        source: as `load_weights` takes it.
        names: of the parameters, in the model.
        sha256: of the tensors, by `digest_tensors`.
    """

    source: str
    names: frozenset[str]
    sha256: str

    def note(self) -> dict[str, Any]:
        """Return what meta.json says of them."""
        return {"source": self.source, "sha256": self.sha256, "tensors": len(self.names)}


def find_frozen(model: JointModel, source: str, loaded: Iterable[str]) -> Frozen | None:
    """Return the frozen parameters that `source` will always give again, or None without any.

    A run is no such source, since its checkpoints come and go; nor are weights that were resampled,
    which other machines may round otherwise.

    Args:
        loaded: the names of what was taken from the source as it was.
    """
    if not is_remote(source) and is_run(source):
        return None
    frozen = {name: p for name, p in model.named_parameters() if not p.requires_grad}
    tensors = {name: frozen[name].detach() for name in loaded if name in frozen}
    if not tensors:
        return None
    return Frozen(source, frozenset(tensors), digest_tensors(tensors))


def complete(
    weights: Mapping[str, Tensor], meta: "Meta", checkpoint: Path, backbone: str | None = None
) -> dict[str, Tensor]:
    """Add to a checkpoint's weights what it names instead of storing it.

    A name at a hub that nobody but the checkpoint has given is looked up in the cache alone.

    Args:
        backbone: where that is, if not where meta.json says.

    Raises:
        EnvironmentFault: the source is not there.
        InputError: it holds other weights than the run was trained with.
    """
    if meta.frozen is None:
        return dict(weights)
    source = backbone or meta.frozen.source
    try:
        with nullcontext() if backbone else offline():
            given = read_source(source)
    except EnvironmentFault as error:
        raise EnvironmentFault(
            f"{checkpoint}: holds what was trained alone, and its frozen backbone is not here: "
            f"{error.message}",
            hint="name its place with --backbone (train: model.weights=…), or, where it is, make "
            "the run complete: ivvit model export RUN -o DIR",
        ) from None
    with torch.device("meta"):
        model = build_model(meta.model, {name: len(h.classes) for name, h in meta.heads.items()})
    found = match_weights(model, given, source, head=None, classes={}).tensors
    # In the model's own type: that is what was digested, though the source may be in another.
    absent = {
        name: found[name].to(own.dtype)
        for name, own in model.state_dict().items()
        if name in found and name not in weights
    }
    if digest_tensors(absent) != meta.frozen.sha256:
        raise InputError(
            f"{source}: is not the backbone that {checkpoint} was trained on",
            hint=f"that was {meta.frozen.source}, of sha256 {meta.frozen.sha256[:12]}…",
        )
    return {**weights, **absent}


def digest_tensors(tensors: Mapping[str, Tensor]) -> str:
    """Return the sha256 of tensors: of their names, types, shapes and bytes, in order of names."""
    total = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        total.update(tensor.contiguous().cpu().flatten().view(torch.uint8).numpy().tobytes())
    return total.hexdigest()
