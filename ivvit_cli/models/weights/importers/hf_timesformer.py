"""Hugging Face's TimeSformer: divided, joint or space-only."""

from ivvit_cli.models.weights.importers.hf_names import KERNEL, is_fused, to_timm
from ivvit_cli.models.weights.importers.naming import (
    Given,
    Importer,
    State,
    place,
    rename,
    tokenizer_is,
)

_TEMPORAL = (
    (r"\.temporal_attention\.attention\.", ".temporal_attn."),
    (r"\.temporal_attention\.output\.dense\.", ".temporal_attn.proj."),
    (r"\.temporal_layernorm\.", ".temporal_norm1."),
    (r"\.temporal_dense\.", ".temporal_fc."),
)
_TIME = ((r"^encoder\.vit\.embeddings\.time_embeddings$", "encoder.time_embed"),)


def matches(state: Given) -> bool:
    """Tell it by queries, keys and values in one tensor."""
    return tokenizer_is(state, KERNEL, 4) and is_fused(state)


def convert(state: Given) -> State:
    """Rename."""
    return rename(place(to_timm(rename(state, _TEMPORAL))), _TIME)


IMPORTER = Importer(matches, convert)
