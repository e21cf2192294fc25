"""Hugging Face's DINOv2, with and without registers, and giant with SwiGLU."""

import re

import torch

from ivvit_cli.models.weights.importers.dinov2 import embed_registers
from ivvit_cli.models.weights.importers.hf_names import KERNEL, scales_layers, to_timm
from ivvit_cli.models.weights.importers.naming import (
    Given,
    Importer,
    State,
    place,
    rename,
    tokenizer_is,
)

_NAMES = (
    (r"\.layer_scale([12])\.lambda1$", r".ls\1.gamma"),
    (r"\.mlp\.weights_in\.", ".mlp.fc1."),
    (r"\.mlp\.(?:weights_out|down_proj)\.", ".mlp.fc2."),
)


def matches(state: Given) -> bool:
    """Tell it by the scales of its branches."""
    return tokenizer_is(state, KERNEL, 4) and scales_layers(state)


def convert(state: Given) -> State:
    """Rename, join what is split, and embed registers as timm does."""
    joined = _join_gates(rename(to_timm(state), _NAMES))
    return place(embed_registers(joined, "embeddings.register_tokens"))


def _join_gates(state: Given) -> State:
    """Join SwiGLU's gate and its other half, which version 5 splits, as timm and DINOv2 do."""
    joined = {
        key: value for key, value in state.items() if not re.search(r"\.(gate|up)_proj\.", key)
    }
    for key, gate in state.items():
        if ".gate_proj." in key and (up := state.get(key.replace("gate", "up"))) is not None:
            joined[key.replace("gate_proj", "fc1")] = torch.cat((gate, up))
    return joined


IMPORTER = Importer(matches, convert)
