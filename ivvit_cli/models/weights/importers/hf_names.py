"""The names that the ViTs of Hugging Face's transformers share, before and since its version 5."""

from ivvit_cli.models.weights.importers.naming import Given, State, join_qkv, rename

KERNEL = "embeddings.patch_embeddings.projection.weight"

_NAMES = (
    (r"^embeddings\.cls_token$", "cls_token"),
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^(?:encoder\.)?layers?\.(\d+)\.", r"blocks.\1."),
    (r"\.attention\.attention\.", ".attn."),
    (r"\.attention\.q_proj\.", ".attn.query."),
    (r"\.attention\.k_proj\.", ".attn.key."),
    (r"\.attention\.v_proj\.", ".attn.value."),
    (r"\.attention\.(?:output\.dense|o_proj)\.", ".attn.proj."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"\.output\.dense\.", ".mlp.fc2."),
    (r"^layernorm\.", "norm."),
    (r"^classifier\.", "head."),
)


def to_timm(state: Given) -> State:
    """Rename to timm's names, and join queries, keys and values."""
    return join_qkv(rename(state, _NAMES))


def is_fused(state: Given) -> bool:
    """Tell whether queries, keys and values are joined already, as in TimeSformer alone."""
    return any(key.endswith(".attention.qkv.weight") for key in state)


def scales_layers(state: Given) -> bool:
    """Tell whether branches are scaled, as in DINOv2 alone."""
    return any(key.endswith(".layer_scale1.lambda1") for key in state)
