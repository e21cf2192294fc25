"""The tensors of a model of ours under the names of others: importers, the other way round.

Each function takes what `timm_names` returns.
"""

import re

import numpy as np
import torch
from numpy.typing import NDArray
from small_models import SMALL
from torch import Tensor

State = dict[str, Tensor]


def timm_names(state: State, head: str = "a") -> State:
    """Take off what `JointModel` puts before names, of the ViT and of one head."""
    changes = ((r"^encoder\.(vit\.)?", ""), (rf"^heads\.{head}\.linears\.0\.", "head."))
    return renamed(state, *changes)


def renamed(state: State, *changes: tuple[str, str]) -> State:
    for pattern, replacement in changes:
        state = {re.sub(pattern, replacement, key): value for key, value in state.items()}
    return state


def split(state: State, parts: tuple[str, str, str]) -> State:
    """Split every qkv in three."""
    named: State = {}
    for key, value in state.items():
        if ".qkv." in key:
            for part, piece in zip(parts, value.chunk(3), strict=True):
                named[key.replace("qkv", part)] = piece.clone()
        else:
            named[key] = value
    return named


def to_tokshift(state: State) -> State:
    """Give the names of TokenShift's release."""
    return renamed(
        split(state, ("query", "key", "value")),
        ("patch_embed.proj", "transformer.embeddings.patch_embeddings"),
        ("pos_embed", "transformer.embeddings.position_embeddings"),
        ("cls_token", "transformer.embeddings.cls_token"),
        (r"blocks\.", "transformer.encoder.layer."),
        ("attn.proj", "attn.out"),
        ("norm1", "attention_norm"),
        ("norm2", "ffn_norm"),
        ("mlp", "ffn"),
        (r"^norm", "transformer.encoder.encoder_norm"),
    )


def to_iv_vit(state: State) -> State:
    """Give the names of IV-ViT's release: TokenShift's, with a head per dataset."""
    named = {f"base_model.{key}": value for key, value in to_tokshift(state).items()}
    named = renamed(named, (r"\.head\.", ".head.head.UCF101."))
    return named | {"base_model.head.head.CIFAR100.weight": torch.ones(100, 24)}


def to_google(state: State) -> dict[str, NDArray[np.float32]]:
    """Turn timm's tensors into the arrays of Google's files: 3 heads of 8 channels, as `SMALL`."""
    parts = {"norm1": "LayerNorm_0", "norm2": "LayerNorm_2"}
    parts |= {"mlp.fc1": "MlpBlock_3/Dense_0", "mlp.fc2": "MlpBlock_3/Dense_1"}
    attention = "MultiHeadDotProductAttention_1"
    arrays = {
        "cls": state["cls_token"],
        "Transformer/posembed_input/pos_embedding": state["pos_embed"],
        "embedding/kernel": state["patch_embed.proj.weight"].permute(2, 3, 1, 0),
        "embedding/bias": state["patch_embed.proj.bias"],
        "Transformer/encoder_norm/scale": state["norm.weight"],
        "Transformer/encoder_norm/bias": state["norm.bias"],
        "head/kernel": state["head.weight"].T,
        "head/bias": state["head.bias"],
        "pre_logits/kernel": torch.ones(24, 24),
    }
    for number in range(SMALL["depth"]):
        ours, theirs = f"blocks.{number}", f"Transformer/encoderblock_{number}"
        for name, part in parts.items():
            weight = state[f"{ours}.{name}.weight"]
            kind = "scale" if weight.ndim == 1 else "kernel"
            arrays[f"{theirs}/{part}/{kind}"] = weight if weight.ndim == 1 else weight.T
            arrays[f"{theirs}/{part}/bias"] = state[f"{ours}.{name}.bias"]
        weights = state[f"{ours}.attn.qkv.weight"].chunk(3)
        biases = state[f"{ours}.attn.qkv.bias"].chunk(3)
        for part, weight, bias in zip(("query", "key", "value"), weights, biases, strict=True):
            arrays[f"{theirs}/{attention}/{part}/kernel"] = weight.T.reshape(24, 3, 8)
            arrays[f"{theirs}/{attention}/{part}/bias"] = bias.reshape(3, 8)
        out = state[f"{ours}.attn.proj.weight"].T.reshape(3, 8, 24)
        arrays[f"{theirs}/{attention}/out/kernel"] = out
        arrays[f"{theirs}/{attention}/out/bias"] = state[f"{ours}.attn.proj.bias"]
    return {key: value.numpy() for key, value in arrays.items()}


def to_torchvision(state: State) -> State:
    """Give torchvision's names, and those of PolyViT in IV-ViT's release."""
    return renamed(
        state,
        (r"^tubelet_pos$", "encoder.pos_embedding_video"),
        (r"^tubelet_embed", "conv3d_proj"),
        (r"^patch_embed\.proj", "conv_proj"),
        (r"^pos_embed$", "encoder.pos_embedding"),
        (r"^cls_token$", "class_token"),
        (r"^norm", "encoder.ln"),
        (r"^blocks\.(\d+)", r"encoder.layers.encoder_layer_\1"),
        (r"\.norm([12])", r".ln_\1"),
        (r"attn\.qkv\.", "self_attention.in_proj_"),
        (r"attn\.proj", "self_attention.out_proj"),
        (r"mlp\.fc([12])", r"mlp.linear_\1"),
        (r"^head\.", "heads.head."),
    )


def to_poly_vit(state: State) -> State:
    """Give the names of IV-ViT's PolyViT, with a head per dataset."""
    named = {f"module.base_model.{key}": value for key, value in to_torchvision(state).items()}
    return renamed(named, (r"heads\.head\.", "heads.head.Kinetics200."))


def to_timesformer(state: State) -> State:
    """Put TimeSformer's names, which are timm's, under its trainer's prefix."""
    return {f"model.{key}": value for key, value in state.items()}


def to_dinov2(state: State) -> State:
    """Give the names of DINOv2's release, with registers, whose class token has a place."""
    own = torch.ones_like(state["cls_token"])
    places = torch.cat((own, state["pos_embed"]), dim=1)
    named = state | {"cls_token": state["cls_token"] - own, "pos_embed": places}
    named["mask_token"] = torch.ones(1, 24)
    return renamed(named, ("reg_token", "register_tokens"), (r"fc1", "w12"), (r"fc2", "w3"))


def to_videomae(state: State) -> State:
    """Give the names of VideoMAE's fine-tuning: no bias of keys, no places, no images."""
    named = _video_alone(state)
    for key in [key for key in named if key.endswith("qkv.bias")]:
        query, _, value = named.pop(key).chunk(3)
        named[key.replace("qkv.bias", "q_bias")] = query.clone()
        named[key.replace("qkv.bias", "v_bias")] = value.clone()
    named.pop("tubelet_pos")
    return renamed(named, ("tubelet_embed", "patch_embed.proj"))


def to_videomae_pretraining(state: State) -> State:
    """Give the names of VideoMAE's pre-training: an encoder beside a decoder."""
    named = to_videomae(state)
    encoder = {f"encoder.{k}": v for k, v in named.items() if not k.startswith("head.")}
    decoder = {"norm.weight": 1, "blocks.0.norm1.weight": 1, "head.bias": 1}
    return encoder | {f"decoder.{k}": torch.ones(n) for k, n in decoder.items()}


def _video_alone(state: State) -> State:
    return {k: v for k, v in state.items() if not re.match(r"patch_embed|pos_embed", k)}


HF_NAMES = (
    (r"^(cls_token)$", r"embeddings.\1"),
    (r"^(pos_embed|tubelet_pos)$", "embeddings.position_embeddings"),
    (r"^time_embed$", "embeddings.time_embeddings"),
    (r"^(patch_embed\.proj|tubelet_embed)", "embeddings.patch_embeddings.projection"),
    (r"^norm", "layernorm"),
    (r"^head\.", "classifier."),
)
HF_OLD = (  # before version 5 of transformers
    *HF_NAMES,
    (r"^blocks\.", "encoder.layer."),
    (r"\.temporal_norm1", ".temporal_layernorm"),
    (r"\.temporal_fc", ".temporal_dense"),
    (r"\.temporal_attn\.qkv", ".temporal_attention.attention.qkv"),
    (r"\.temporal_attn\.proj", ".temporal_attention.output.dense"),
    (r"\.attn\.(query|key|value|qkv)", r".attention.attention.\1"),
    (r"\.attn\.([qv]_bias)", r".attention.attention.\1"),
    (r"\.attn\.proj", ".attention.output.dense"),
)
HF_NEW = (
    *HF_NAMES,
    (r"\.attn\.(q|k|v)(?:uery|ey|alue)", r".attention.\1_proj"),
    (r"\.attn\.proj", ".attention.o_proj"),
)
HF_VIT = (
    (r"\.norm1", ".layernorm_before"),
    (r"\.norm2", ".layernorm_after"),
)
HF_MLP = ((r"\.mlp\.fc1", ".intermediate.dense"), (r"\.mlp\.fc2", ".output.dense"))
_PARTS = ("query", "key", "value")


def to_hf_vit(state: State) -> State:
    """Give the names of Hugging Face's ViT on the hub."""
    named = renamed(split(state, _PARTS), *HF_OLD, *HF_VIT, *HF_MLP)
    named = {key if "classifier" in key else f"vit.{key}": v for key, v in named.items()}
    return named | {"vit.pooler.dense.weight": torch.ones(24, 24)}


def to_new_hf_vit(state: State) -> State:
    """Give the names of Hugging Face's ViT in version 5."""
    return renamed(split(state, _PARTS), *HF_NEW, *HF_VIT, (r"^blocks", "layers"))


def to_hf_dinov2(state: State) -> State:
    """Give the names of Hugging Face's DINOv2, with registers and SwiGLU, on the hub."""
    state = renamed(to_dinov2(state), (r"w12", "weights_in"), (r"w3", "weights_out"))
    named = renamed(
        split(state, _PARTS),
        *HF_OLD,
        (r"\.ls([12])\.gamma", r".layer_scale\1.lambda1"),
        (r"^(register_tokens|mask_token)$", r"embeddings.\1"),
    )
    return {f"dinov2_with_registers.{key}": value for key, value in named.items()}


def to_hf_clip(state: State) -> State:
    """Give the names of Hugging Face's CLIP, beside a tower of texts."""
    flat = {"cls_token": state["cls_token"].flatten(), "pos_embed": state["pos_embed"][0].clone()}
    named = renamed(
        split(state | flat, ("q_proj", "k_proj", "v_proj")),
        (r"^cls_token", "embeddings.class_embedding"),
        (r"^pos_embed", "embeddings.position_embedding.weight"),
        (r"^patch_embed\.proj", "embeddings.patch_embedding"),
        (r"^norm_pre", "pre_layrnorm"),
        (r"^norm", "post_layernorm"),
        (r"^blocks", "encoder.layers"),
        (r"\.attn\.proj", ".self_attn.out_proj"),
        (r"\.attn\.", ".self_attn."),
        (r"\.norm([12])", r".layer_norm\1"),
    )
    named = {key: value for key, value in named.items() if not key.startswith("head.")}
    tower = {f"vision_model.{key}": value for key, value in named.items()}
    return tower | {"visual_projection.weight": torch.ones(8, 24), "logit_scale": torch.ones(())}


def to_hf_timesformer(state: State) -> State:
    """Give the names of Hugging Face's TimeSformer."""
    named = renamed(state, *HF_OLD, *HF_VIT, *HF_MLP)
    return {key if "classifier" in key else f"timesformer.{key}": v for key, v in named.items()}


def to_hf_vivit(state: State) -> State:
    """Give the names of Hugging Face's ViViT on the hub: no images."""
    named = renamed(split(_video_alone(state), _PARTS), *HF_OLD, *HF_VIT, *HF_MLP)
    return {key if "classifier" in key else f"vivit.{key}": v for key, v in named.items()}


def to_hf_videomae(state: State) -> State:
    """Give the names of Hugging Face's VideoMAE on the hub."""
    named = renamed(to_videomae(state), *HF_OLD, *HF_VIT, *HF_MLP)
    weights = split(named, _PARTS)
    return {
        key if re.match("classifier|fc_norm", key) else f"videomae.{key}": value
        for key, value in weights.items()
    }
