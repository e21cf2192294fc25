"""The files of TokenShift, of MSCA, which is a patch of its code, and of IV-ViT's shift models.

All three name their ViT as jeonsworld/ViT-pytorch does. IV-ViT's have a head per dataset.
"""

from ivvit_cli.models.weights.importers.naming import (
    Given,
    Importer,
    State,
    join_qkv,
    place,
    rename,
)

_NAMES = (
    (r"^transformer\.embeddings\.patch_embeddings\.", "patch_embed.proj."),
    (r"^transformer\.embeddings\.position_embeddings$", "pos_embed"),
    (r"^transformer\.embeddings\.cls_token$", "cls_token"),
    (r"^transformer\.encoder\.encoder_norm\.", "norm."),
    (r"^transformer\.encoder\.layer\.(\d+)\.", r"blocks.\1."),
    (r"\.attention_norm\.", ".norm1."),
    (r"\.attn\.out\.", ".attn.proj."),
    (r"\.ffn_norm\.", ".norm2."),
    (r"\.ffn\.", ".mlp."),
    (r"^head\.head\.", "heads."),
)


def convert(state: Given) -> State:
    """Rename, and join queries, keys and values."""
    return place(join_qkv(rename(state, _NAMES)))


IMPORTER = Importer(
    lambda state: "transformer.embeddings.patch_embeddings.weight" in state, convert
)
