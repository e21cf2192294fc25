"""Google's archives of arrays reach the right tensors."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from small_models import SMALL, assert_same, small_model, timm_vit
from torch import Tensor

from ivvit_cli.models import load_weights


def to_google(state: dict[str, Tensor]) -> dict[str, NDArray[np.float32]]:
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


def test_an_archive_of_google(tmp_path: Path) -> None:
    """And timm's own reader of such files understands this one alike."""
    vit, model = timm_vit(), small_model(heads={"a": 7})
    np.savez(tmp_path / "ViT.npz", **to_google(vit.state_dict()))
    timms = timm_vit(seed=4)
    timms.load_pretrained(str(tmp_path / "ViT.npz"))
    assert all(torch.equal(timms.state_dict()[k], v) for k, v in vit.state_dict().items())
    report = load_weights(model, str(tmp_path / "ViT.npz"), head="a")
    assert (report.format, report.share) == ("google", 1)
    assert report.unused == ("encoder.vit.pre_logits.weight",)
    assert_same(model, vit, "a")
