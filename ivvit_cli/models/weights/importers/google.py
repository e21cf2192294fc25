"""Google's ViT as its authors publish it: an archive of arrays (.npz; Dosovitskiy et al., 2021)."""

import re

from torch import Tensor

from ivvit_cli.models.weights.importers.naming import (
    Given,
    Importer,
    State,
    join_qkv,
    place,
    rename,
)

_NAMES = (
    (r"/(kernel|scale)$", ".weight"),
    (r"/bias$", ".bias"),
    (r"^embedding\.", "patch_embed.proj."),
    (r"^Transformer/posembed_input/pos_embedding$", "pos_embed"),
    (r"^cls$", "cls_token"),
    (r"^Transformer/encoder_norm\.", "norm."),
    (r"^Transformer/encoderblock_(\d+)/", r"blocks.\1."),
    (r"\.LayerNorm_0\.", ".norm1."),
    (r"\.LayerNorm_2\.", ".norm2."),
    (r"\.MultiHeadDotProductAttention_1/out\.", ".attn.proj."),
    (r"\.MultiHeadDotProductAttention_1/", ".attn."),
    (r"\.MlpBlock_3/Dense_0\.", ".mlp.fc1."),
    (r"\.MlpBlock_3/Dense_1\.", ".mlp.fc2."),
)


def convert(state: Given) -> State:
    """Rename and turn: Flax keeps a kernel's inputs first and splits channels into heads."""
    turned = {key: _turn(key, value) for key, value in state.items()}
    return place(join_qkv(rename(turned, _NAMES)))


def _turn(key: str, value: Tensor) -> Tensor:
    if key.endswith("/kernel") and value.ndim == 4:
        return value.permute(3, 2, 0, 1)  # (H, W, in, out) -> (out, in, H, W)
    if re.search(r"/(query|key|value)/", key):
        value = value.flatten(-2)  # (…, heads, D / heads) -> (…, D)
    elif key.endswith("/out/kernel"):
        value = value.flatten(0, 1)  # (heads, D / heads, D) -> (D, D)
    return value.T if key.endswith("/kernel") and value.ndim == 2 else value


IMPORTER = Importer(lambda state: "Transformer/encoder_norm/scale" in state, convert)
