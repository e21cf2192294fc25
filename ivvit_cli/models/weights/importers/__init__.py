"""Importers: from the names that others gave their tensors to the names of `JointModel`.

One source of weights per file; each is a pure function from state dict to state dict, and knows its
own files by their names and shapes alone.
"""

import re
from collections.abc import Iterator

from torch import Tensor

from ivvit_cli.errors import InputError
from ivvit_cli.models.weights.importers import (
    dinov2,
    google,
    hf_clip,
    hf_dinov2,
    hf_timesformer,
    hf_videomae,
    hf_vit,
    hf_vivit,
    ivvit,
    timesformer,
    timm,
    tokshift,
    torchvision,
    videomae,
)
from ivvit_cli.models.weights.importers.naming import Given, Importer, State

__all__ = ["IMPORTERS", "Importer", "State", "import_state"]

IMPORTERS: dict[str, Importer] = {
    "ivvit": ivvit.IMPORTER,
    "timm": timm.IMPORTER,
    "dinov2": dinov2.IMPORTER,
    "google": google.IMPORTER,
    "torchvision": torchvision.IMPORTER,
    "tokshift": tokshift.IMPORTER,
    "timesformer": timesformer.IMPORTER,
    "videomae": videomae.IMPORTER,
    "hf-vit": hf_vit.IMPORTER,
    "hf-dinov2": hf_dinov2.IMPORTER,
    "hf-clip": hf_clip.IMPORTER,
    "hf-timesformer": hf_timesformer.IMPORTER,
    "hf-vivit": hf_vivit.IMPORTER,
    "hf-videomae": hf_videomae.IMPORTER,
}

# What trainers, and Hugging Face's models with a head, put before every name.
_WRAPPERS = re.compile(
    r"^(?:_orig_mod|module|model|base_model|backbone|vit|dinov2|dinov2_with_registers|vision_model"
    r"|timesformer|vivit|videomae)\."
)


def import_state(tensors: Given, source: str) -> tuple[str, State]:
    """Recognise a state dict by its keys; return the format's name and the translated dict.

    Raises:
        InputError: the keys are of no known format or of two, or the tensors do not fit together.
    """
    for state in _unwrap(tensors, source):
        if found := [name for name, importer in IMPORTERS.items() if importer.matches(state)]:
            return found[0], _convert(found, state, source)
    keys = ", ".join(list(tensors)[:3]) or "none"
    raise InputError(
        f"{source}: no known format ({len(tensors)} tensors: {keys} ...)",
        hint=f"known: {', '.join(IMPORTERS)}",
    )


def _convert(found: list[str], state: State, source: str) -> State:
    if len(found) > 1:
        raise InputError(f"{source}: has the tensors of several formats: {', '.join(found)}")
    try:
        return IMPORTERS[found[0]].convert(state)
    except (IndexError, KeyError, RuntimeError) as error:  # crafted names and shapes
        reason = " ".join(str(error).split())
        raise InputError(f"{source}: is damaged ({found[0]}): {reason}") from None


def _unwrap(tensors: Given, source: str) -> Iterator[State]:
    """Yield the tensors without their wrappers, then also without that of a masked autoencoder.

    Other formats have an `encoder.` of their own, so it is tried last.
    """
    state = dict(tensors)
    for prefixes in (_WRAPPERS, re.compile(r"^encoder\."), _WRAPPERS):
        state = _strip(state, prefixes, source)
        yield state


def _strip(state: State, prefixes: re.Pattern[str], source: str) -> State:
    stripped: dict[str, Tensor] = {}
    for key, value in state.items():
        name = key
        while match := prefixes.match(name):
            name = name[match.end() :]
        if name in stripped:
            raise InputError(
                f"{source}: holds two models: {name} is there under several prefixes",
                hint="save the one you mean on its own",
            )
        stripped[name] = value
    return stripped
