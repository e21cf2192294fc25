"""The names and the settings of the models in transformers that a model of ours may be.

The reverse of `models.weights.importers`: what is written here is read back there bit for bit.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from timm.layers import Mlp, PatchEmbed
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

from ivvit_cli.models import JointModel
from ivvit_cli.models.attention import LeanAttention
from ivvit_cli.models.encoder import Encoder
from ivvit_cli.models.heads import Head, head_key
from ivvit_cli.models.temporal.divided import DividedBlock
from ivvit_cli.models.temporal.timesformer import (
    DividedEncoder,
    SpaceTimeEncoder,
    nearest_frames,
)
from ivvit_cli.models.weights.config import activation_of
from ivvit_cli.models.weights.importers.naming import State, rename

# Those of the library's version 4, which its version 5 writes and reads, too.
_NAMES = (
    (r"^encoder\.time_embed$", "embeddings.time_embeddings"),
    (r"^encoder\.vit\.", ""),
    (r"^cls_token$", "embeddings.cls_token"),
    (r"^pos_embed$", "embeddings.position_embeddings"),
    (r"^patch_embed\.proj\.", "embeddings.patch_embeddings.projection."),
    (r"^norm\.", "layernorm."),
    (r"^blocks\.(\d+)\.norm1\.", r"blocks.\1.layernorm_before."),
    (r"^blocks\.(\d+)\.norm2\.", r"blocks.\1.layernorm_after."),
    (r"\.temporal_norm1\.", ".temporal_layernorm."),
    (r"\.temporal_fc\.", ".temporal_dense."),
    (r"\.(temporal_)?attn\.proj\.", r".\1attention.output.dense."),
    (r"\.(temporal_)?attn\.", r".\1attention.attention."),
    (r"\.mlp\.fc1\.", ".intermediate.dense."),
    (r"\.mlp\.fc2\.", ".output.dense."),
    (r"^blocks\.", "encoder.layer."),
)
_BLOCK = r"(?:temporal_)?(?:norm[12]|attn\.(?:qkv|proj)|fc)|mlp\.fc[12]"
_KNOWN = re.compile(
    rf"encoder\.(?:time_embed|vit\.(?:cls_token|pos_embed)"
    rf"|vit\.(?:norm|patch_embed\.proj|blocks\.\d+\.(?:{_BLOCK}))\.(?:weight|bias))"
)


@dataclass(frozen=True)
class Architecture:
    """A model of transformers.

    Attributes:
        name: its class.
        model_type: in config.json, and the prefix of its tensors' names.
        block: the class of our blocks.
        attention: the `attention_type` of a video model; None where frames never meet.
    """

    name: str
    model_type: str
    block: type[nn.Module]
    attention: str | None = None


_VIDEO = ("TimesformerForVideoClassification", "timesformer")
_ARCHITECTURES: dict[type[Encoder], Architecture] = {
    Encoder: Architecture("ViTForImageClassification", "vit", Block),
    DividedEncoder: Architecture(*_VIDEO, DividedBlock, "divided_space_time"),
    SpaceTimeEncoder: Architecture(*_VIDEO, Block, "joint_space_time"),
}


def find_architecture(model: JointModel) -> Architecture | None:
    """Return which model of transformers computes the same; None if there is none."""
    found = _ARCHITECTURES.get(type(model.encoder))
    if found is None:
        return None
    names = model.encoder.state_dict(prefix="encoder.")
    same = all(map(_KNOWN.fullmatch, names)) and _is_plain(model.encoder.vit, found.block)
    return found if same else None


def _is_plain(vit: VisionTransformer, block: type[nn.Module]) -> bool:
    """Tell whether a ViT computes as the first ones did, whatever its tensors are named."""
    patches = vit.patch_embed
    bare = (patches.norm, vit.norm_pre, vit.fc_norm, vit.patch_drop)
    return (
        type(patches) is PatchEmbed
        and patches.patch_size[0] == patches.patch_size[1]
        and not vit.dynamic_img_size
        and vit.num_prefix_tokens == 1
        and vit.pos_embed.shape[1] == patches.num_patches + 1
        and vit.global_pool == "token"
        and all(isinstance(module, nn.Identity) for module in bare)
        and all(type(each) is block and _is_plain_block(each) for each in vit.blocks)
        and len({activation_of(each.mlp) for each in vit.blocks}) == 1
        and _has_plain_layers(vit)
    )


def _is_plain_block(block: Any) -> bool:
    attn, mlp = block.attn, block.mlp
    bare = (block.ls1, block.ls2, attn.q_norm, attn.k_norm, attn.norm)
    return (
        type(attn) is LeanAttention
        and type(mlp) is Mlp
        and attn.gate is None
        and attn.scale == attn.head_dim**-0.5
        and activation_of(mlp) is not None
        and all(isinstance(module, nn.Identity) for module in (*bare, mlp.norm))
    )


def _has_plain_layers(vit: VisionTransformer) -> bool:
    """Tell whether all layers are of the classes, and have the biases, that theirs have."""
    layers = {name: module for name, module in vit.named_modules() if not list(module.children())}
    weighted = {name: layer for name, layer in layers.items() if list(layer.parameters())}
    norms = {layer.eps for layer in weighted.values() if isinstance(layer, nn.LayerNorm)}
    return len(norms) == 1 and all(
        isinstance(layer, nn.LayerNorm | nn.Linear | nn.Conv2d)
        and (layer.bias is not None or name.endswith(".qkv"))
        for name, layer in weighted.items()
    )


def name_tensors(model: JointModel, dataset: str, found: Architecture, frames: int | None) -> State:
    """Return the tensors of the encoder and of one head by the names of transformers.

    Args:
        frames: of the clips, for which there are embeddings of time; None for an image.
    """
    state = model.encoder.state_dict(prefix="encoder.")
    if found.attention:
        time = state["encoder.time_embed"]
        state["encoder.time_embed"] = nearest_frames(time, frames or 1)
    named = rename(state, _NAMES)
    if not found.attention:
        named = split_qkv(named)
    head = model.heads[head_key(dataset)]
    assert isinstance(head, Head)
    classifier = head.linears[0].state_dict(prefix="classifier.")
    prefixed = {f"{found.model_type}.{name}": value for name, value in named.items()}
    return {name: value.contiguous() for name, value in (prefixed | classifier).items()}


def split_qkv(state: Mapping[str, Tensor]) -> State:
    """Split `.attention.qkv` into those of queries, keys and values, each in memory of its own."""
    split: State = {}
    for name, value in state.items():
        if ".attention.qkv." not in name:
            split[name] = value
            continue
        for part, rows in zip(("query", "key", "value"), value.chunk(3), strict=True):
            split[name.replace(".qkv.", f".{part}.")] = rows.clone()
    return split


def settings_of(model: JointModel, found: Architecture, frames: int | None) -> dict[str, Any]:
    """Return what config.json says of the architecture."""
    vit = model.encoder.vit
    block, size = vit.blocks[0], vit.patch_embed.img_size[0]
    settings = {
        "architectures": [found.name],
        "model_type": found.model_type,
        "image_size": size,
        "patch_size": vit.patch_embed.patch_size[0],
        "num_channels": vit.patch_embed.proj.in_channels,
        "hidden_size": vit.embed_dim,
        "num_hidden_layers": len(vit.blocks),
        "num_attention_heads": block.attn.num_heads,
        "intermediate_size": block.mlp.fc1.out_features,
        "hidden_act": activation_of(block.mlp),
        "layer_norm_eps": vit.norm.eps,
        "qkv_bias": block.attn.qkv.bias is not None,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    }
    if found.attention is None:
        return settings
    return {**settings, "attention_type": found.attention, "num_frames": frames or 1}
