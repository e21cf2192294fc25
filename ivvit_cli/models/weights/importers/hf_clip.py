"""Hugging Face's CLIP: its vision tower, without the projection into the space of texts."""

from ivvit_cli.models.weights.importers.naming import (
    Given,
    Importer,
    State,
    join_qkv,
    place,
    rename,
)

_NAMES = (
    (r"^embeddings\.class_embedding$", "cls_token"),
    (r"^embeddings\.position_embedding\.weight$", "pos_embed"),
    (r"^embeddings\.patch_embedding\.", "patch_embed.proj."),
    (r"^pre_layrnorm\.", "norm_pre."),
    (r"^post_layernorm\.", "norm."),
    (r"^encoder\.layers\.(\d+)\.", r"blocks.\1."),
    (r"\.self_attn\.out_proj\.", ".attn.proj."),
    (r"\.self_attn\.q_proj\.", ".attn.query."),
    (r"\.self_attn\.k_proj\.", ".attn.key."),
    (r"\.self_attn\.v_proj\.", ".attn.value."),
    (r"\.layer_norm([12])\.", r".norm\1."),
)


def convert(state: Given) -> State:
    """Rename, join queries, keys and values, and give embeddings their leading dimensions."""
    named = join_qkv(rename(state, _NAMES))
    for name in ("cls_token", "pos_embed"):
        if name in named:
            named[name] = named[name].reshape(1, -1, named[name].shape[-1])
    return place(named)


IMPORTER = Importer(lambda state: "pre_layrnorm.weight" in state, convert)
