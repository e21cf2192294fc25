"""torchvision's ViT, and what IV-ViT's code built upon it: its frame-wise ViT and its PolyViT.

PolyViT adds a tokenizer for tubelets and their embeddings of place. IV-ViT's have a head per
dataset.
"""

from ivvit_cli.models.weights.importers.naming import Given, Importer, State, place, rename

_NAMES = (
    (r"^conv_proj\.", "patch_embed.proj."),
    (r"^class_token$", "cls_token"),
    (r"^encoder\.pos_embedding$", "pos_embed"),
    (r"^encoder\.ln\.", "norm."),
    (r"^encoder\.layers\.encoder_layer_(\d+)\.", r"blocks.\1."),
    (r"\.ln_([12])\.", r".norm\1."),
    (r"\.self_attention\.in_proj_", ".attn.qkv."),
    (r"\.self_attention\.out_proj\.", ".attn.proj."),
    (r"\.mlp\.(?:linear_1|0)\.", ".mlp.fc1."),
    (r"\.mlp\.(?:linear_2|3)\.", ".mlp.fc2."),
    (r"^heads\.head\.(?=(weight|bias)$)", "head."),
    (r"^heads\.head\.", "heads."),
)
_VIDEO_NAMES = (
    (r"^encoder\.vit\.conv3d_proj\.", "encoder.tubelet_embed."),
    (r"^encoder\.vit\.encoder\.pos_embedding_video$", "encoder.tubelet_pos"),
)


def convert(state: Given) -> State:
    """Rename."""
    return rename(place(rename(state, _NAMES)), _VIDEO_NAMES)


IMPORTER = Importer(lambda state: "encoder.layers.encoder_layer_0.ln_1.weight" in state, convert)
