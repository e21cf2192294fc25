"""Hugging Face's ViT; its pooler after the class token is left out."""

from ivvit_cli.models.weights.importers.hf_names import KERNEL, is_fused, scales_layers, to_timm
from ivvit_cli.models.weights.importers.naming import Given, Importer, State, place, tokenizer_is


def matches(state: Given) -> bool:
    """Tell it from DINOv2 and TimeSformer, which add to its names."""
    return tokenizer_is(state, KERNEL, 4) and not is_fused(state) and not scales_layers(state)


def convert(state: Given) -> State:
    """Rename, and join queries, keys and values."""
    return place(to_timm(state))


IMPORTER = Importer(matches, convert)
