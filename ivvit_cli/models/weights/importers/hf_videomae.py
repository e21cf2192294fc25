"""Hugging Face's VideoMAE: the encoder of a pre-training, or a fine-tuned model."""

import torch

from ivvit_cli.models.weights.importers.hf_names import KERNEL, to_timm
from ivvit_cli.models.weights.importers.naming import (
    Given,
    Importer,
    State,
    place,
    rename,
    tokenizer_is,
)
from ivvit_cli.models.weights.importers.videomae import TUBELETS, sinusoids

# Before version 5, whose files have query.bias and value.bias.
_BIASES = ((r"\.attention\.q_bias$", ".attention.query.bias"), (r"\.v_bias$", ".value.bias"))


def matches(state: Given) -> bool:
    """Tell it by tubelets and no class token."""
    return tokenizer_is(state, KERNEL, 5) and "embeddings.cls_token" not in state


def convert(state: Given) -> State:
    """Rename, and join queries, keys and values, whose keys have no bias."""
    named = rename(state, _BIASES)
    for key in [key for key in named if key.endswith(".attention.query.bias")]:
        named[key.replace(".query.", ".key.")] = torch.zeros_like(named[key])
    return rename(place(to_timm(named)), TUBELETS)


IMPORTER = Importer(matches, convert, sinusoids)
