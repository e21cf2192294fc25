"""Importers: from the names that others gave their tensors to the names of `JointModel`.

An importer is a pure function from state dict to state dict. The encoder's tensors get the names
they have in `JointModel.state_dict()`; a classifier of the source goes under `head.`, as if it were
a `heads.Head`.
"""

import re
from collections.abc import Callable, Iterable, Mapping
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
            except (IndexError, RuntimeError) as error:  # tensors of crafted shapes
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


def from_timesformer(state: Mapping[str, Tensor]) -> State:
    """Take TimeSformer's divided or joint form, which names its blocks as timm does."""
    renamed = from_timm(state)
    renamed["encoder.time_embed"] = renamed.pop("encoder.vit.time_embed")
    return renamed


def from_tokshift(state: Mapping[str, Tensor]) -> State:
    """Rename TokenShift's ViT (that of jeonsworld/ViT-pytorch) and join its q, k and v."""
    return from_timm(_join_qkv(_rename(state, _TOKSHIFT_NAMES)))


def from_google(state: Mapping[str, Tensor]) -> State:
    """Rename and turn the arrays of Google's ViT (.npz; Dosovitskiy et al., 2021).

    Flax keeps a kernel's inputs first and splits an attention's channels into heads.
    """
    turned = {key: _turn(key, value) for key, value in state.items()}
    return from_timm(_join_qkv(_rename(turned, _GOOGLE_NAMES)))


def _turn(key: str, value: Tensor) -> Tensor:
    if key.endswith("/kernel") and value.ndim == 4:
        return value.permute(3, 2, 0, 1)  # (H, W, in, out) -> (out, in, H, W)
    if re.search(r"/(query|key|value)/", key):
        value = value.flatten(-2)  # (…, heads, D / heads) -> (…, D)
    elif key.endswith("/out/kernel"):
        value = value.flatten(0, 1)  # (heads, D / heads, D) -> (D, D)
    return value.T if key.endswith("/kernel") and value.ndim == 2 else value


def _join_qkv(state: Mapping[str, Tensor]) -> State:
    joined: State = {}
    for key, value in state.items():
        if match := re.fullmatch(r"(.*\.attn\.)query\.(weight|bias)", key):
            parts = [f"{match[1]}{part}.{match[2]}" for part in ("query", "key", "value")]
            if all(part in state for part in parts):
                joined[f"{match[1]}qkv.{match[2]}"] = torch.cat([state[part] for part in parts])
        elif not re.search(r"\.attn\.(key|value)\.", key):
            joined[key] = value
    return joined


_GOOGLE_NAMES = (
    (r"/(kernel|scale)$", ".weight"),
    (r"/bias$", ".bias"),
    (r"^embedding\.", "patch_embed.proj."),
    (r"^Transformer/posembed_input/pos_embedding$", "pos_embed"),
    (r"^cls$", "cls_token"),
    (r"^Transformer/encoder_norm\.", "norm."),
    (r"^Transformer/encoderblock_(\d+)/", r"blocks.\1."),
    (r"\.LayerNorm_0\.", ".norm1."),
    (r"\.LayerNorm_2\.", ".norm2."),
    (r"\.MultiHeadDotProductAttention_1/out\.", ".attn.proj."),
    (r"\.MultiHeadDotProductAttention_1/", ".attn."),
    (r"\.MlpBlock_3/Dense_0\.", ".mlp.fc1."),
    (r"\.MlpBlock_3/Dense_1\.", ".mlp.fc2."),
)
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


def _rename(state: Mapping[str, Tensor], names: Iterable[tuple[str, str]]) -> State:
    renamed = dict(state)
    for pattern, replacement in names:
        renamed = {re.sub(pattern, replacement, key): value for key, value in renamed.items()}
    return renamed


def _place(key: str) -> str:
    if key in ("head.weight", "head.bias"):
        return key.replace("head.", "head.linears.0.")
    return f"encoder.vit.{key}"


IMPORTERS: dict[str, Importer] = {
    "ivvit": Importer("encoder.vit.patch_embed.proj.weight", from_ivvit),
    "tokshift": Importer("transformer.embeddings.patch_embeddings.weight", from_tokshift),
    "google": Importer("Transformer/encoder_norm/scale", from_google),
    "timesformer": Importer("time_embed", from_timesformer),
    "timm": Importer("blocks.0.norm1.weight", from_timm),
}
