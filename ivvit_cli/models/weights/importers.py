"""Importers: from the names that others gave their tensors to the names of `JointModel`.

An importer is a pure function from state dict to state dict. The encoder's tensors get the names
they have in `JointModel.state_dict()`; a classifier of the source goes under `head.`, as if it were
a `heads.Head`.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ivvit_cli.errors import InputError

State = dict[str, Tensor]

_WRAPPERS = re.compile(r"^(_orig_mod\.|module\.|model\.|base_model\.|backbone\.)+")


@dataclass(frozen=True)
class Importer:
    """One naming: a key that only it has, and how to translate it."""

    key: str
    convert: Callable[[Mapping[str, Tensor]], State]


def import_state(tensors: Mapping[str, Tensor], source: str) -> tuple[str, State]:
    """Recognise a state dict by its keys; return the format's name and the translated dict.

    Raises:
        InputError: the keys are of no known format, or the tensors do not fit together.
    """
    state = {_WRAPPERS.sub("", key): value for key, value in tensors.items()}
    for name, importer in IMPORTERS.items():
        if importer.key in state:
            try:
                return name, importer.convert(state)
            except RuntimeError as error:  # tensors of crafted shapes cannot be joined
                raise InputError(f"{source}: is damaged ({name}): {error}") from None
    keys = ", ".join(list(tensors)[:3]) or "none"
    raise InputError(
        f"{source}: no known format ({len(tensors)} tensors: {keys} ...)",
        hint=f"known: {', '.join(IMPORTERS)}",
    )


def from_ivvit(state: Mapping[str, Tensor]) -> State:
    """Take a checkpoint of this package as it is."""
    return dict(state)


def from_timm(state: Mapping[str, Tensor]) -> State:
    """Rename timm's VisionTransformer, which DeiT, DINOv2 and MAE share."""
    return {_place(key): value for key, value in state.items()}


def from_tokshift(state: Mapping[str, Tensor]) -> State:
    """Rename TokenShift's ViT (that of jeonsworld/ViT-pytorch) and join its q, k and v."""
    renamed = {_rename(key): value for key, value in state.items()}
    joined: State = {}
    for key, value in renamed.items():
        if match := re.fullmatch(r"(.*\.attn\.)query\.(weight|bias)", key):
            parts = [f"{match[1]}{part}.{match[2]}" for part in ("query", "key", "value")]
            if all(part in renamed for part in parts):
                joined[f"{match[1]}qkv.{match[2]}"] = torch.cat([renamed[part] for part in parts])
        elif not re.search(r"\.attn\.(key|value)\.", key):
            joined[key] = value
    return from_timm(joined)


_TOKSHIFT_NAMES = (
    (r"^transformer\.embeddings\.patch_embeddings\.", "patch_embed.proj."),
    (r"^transformer\.embeddings\.position_embeddings$", "pos_embed"),
    (r"^transformer\.embeddings\.cls_token$", "cls_token"),
    (r"^transformer\.encoder\.encoder_norm\.", "norm."),
    (r"^transformer\.encoder\.layer\.(\d+)\.", r"blocks.\1."),
    (r"\.attention_norm\.", ".norm1."),
    (r"\.attn\.out\.", ".attn.proj."),
    (r"\.ffn_norm\.", ".norm2."),
    (r"\.ffn\.", ".mlp."),
)


def _rename(key: str) -> str:
    for pattern, replacement in _TOKSHIFT_NAMES:
        key = re.sub(pattern, replacement, key)
    return key


def _place(key: str) -> str:
    if key in ("head.weight", "head.bias"):
        return key.replace("head.", "head.linears.0.")
    return f"encoder.vit.{key}"


IMPORTERS: dict[str, Importer] = {
    "ivvit": Importer("encoder.vit.patch_embed.proj.weight", from_ivvit),
    "tokshift": Importer("transformer.embeddings.patch_embeddings.weight", from_tokshift),
    "timm": Importer("blocks.0.norm1.weight", from_timm),
}
