"""Hugging Face's ViViT (model 1: joint attention over all tubelets)."""

from ivvit_cli.models.weights.importers.hf_names import KERNEL, to_timm
from ivvit_cli.models.weights.importers.naming import (
    Given,
    Importer,
    State,
    place,
    rename,
    tokenizer_is,
)
from ivvit_cli.models.weights.importers.videomae import TUBELETS

_PLACES = ((r"^encoder\.vit\.pos_embed$", "encoder.tubelet_pos"),)


def matches(state: Given) -> bool:
    """Tell it by tubelets and a class token."""
    return tokenizer_is(state, KERNEL, 5) and "embeddings.cls_token" in state


def convert(state: Given) -> State:
    """Rename, join queries, keys and values; what embeds is for clips alone."""
    return rename(place(to_timm(state)), (*TUBELETS, *_PLACES))


IMPORTER = Importer(matches, convert)
