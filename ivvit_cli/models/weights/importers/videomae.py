"""VideoMAE's own files: the encoder of a pre-training, or a fine-tuned model.

Tong et al., VideoMAE: Masked Autoencoders are Data-Efficient Learners, NeurIPS 2022. It embeds
tubelets, has no class token, no bias for keys, and places that a formula gives.
"""

import re

import torch
from torch import Tensor

from ivvit_cli.models.weights.importers.naming import (
    Given,
    Importer,
    State,
    place,
    rename,
    tokenizer_is,
)

TUBELETS = ((r"^encoder\.vit\.patch_embed\.proj\.", "encoder.tubelet_embed."),)


def matches(state: Given) -> bool:
    """Tell it by its tubelets beside timm's names, and what it lacks."""
    return (
        "blocks.0.norm1.weight" in state
        and tokenizer_is(state, "patch_embed.proj.weight", 5)
        and not {"cls_token", "pos_embed"} & state.keys()
    )


def convert(state: Given) -> State:
    """Join the biases of queries and values with the zeros of keys."""
    joined = {key: value for key, value in state.items() if not re.search(r"\.[qv]_bias$", key)}
    for key, query in state.items():
        if match := re.fullmatch(r"(.*\.)q_bias", key):
            biases = (query, torch.zeros_like(query), state[f"{match[1]}v_bias"])
            joined[f"{match[1]}qkv.bias"] = torch.cat(biases)
    return rename(place(joined), TUBELETS)


def sinusoids(number: int, width: int) -> Tensor:
    """Return embeddings (1, number, width): sines and cosines of the place in the row of tokens.

    Vaswani et al., Attention Is All You Need, 2017, 3.5.
    """
    places = torch.arange(number, dtype=torch.float64)[:, None]
    columns = torch.arange(width)
    powers = (columns - columns % 2).double() / width
    angles = places / 10_000**powers  # (number, width)
    return torch.where(columns % 2 == 0, angles.sin(), angles.cos()).float()[None]


IMPORTER = Importer(matches, convert, sinusoids)
