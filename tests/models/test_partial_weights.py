"""Weights that lack one layer in many are refused; moments are told from places."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from foreign_names import to_tokshift
from safetensors.torch import save_file
from small_models import small_model, timm_vit
from torch import Tensor

from ivvit_cli.errors import InputError
from ivvit_cli.models import load_weights
from ivvit_cli.models.temporal.tubelet import TubeletEncoder
from ivvit_cli.models.weights.importers.naming import join_qkv

State = dict[str, Tensor]
CLIP = "vit_base_patch16_clip_quickgelu_224"


def saved(state: State, path: Path) -> str:
    save_file({key: value.contiguous() for key, value in state.items()}, path)
    return str(path)


def without(end: str) -> State:
    state = small_model(depth=12).encoder.vit.state_dict()
    return {key: value for key, value in state.items() if not key.endswith(end)}


@pytest.mark.parametrize(
    ("state", "backbone", "message"),
    [
        (without("3.attn.qkv.weight"), "vit_tiny_patch16_224", "lacks .*3.attn.qkv.weight"),
        (without("attn.qkv.bias"), "vit_tiny_patch16_224", "lacks .*0.attn.qkv.bias"),
        (without("no such"), CLIP, "lacks .*norm_pre.weight"),
        (
            without("no such") | {"blocks.7.mlp.fc1.weight": torch.ones(96, 24)},
            "vit_tiny_patch16_224",
            "7.mlp.fc1.weight is 96x24 there and 48x24",
        ),
    ],
)
def test_a_single_layer_is_not_left_random(
    tmp_path: Path, state: State, backbone: str, message: str
) -> None:
    """Of 12 blocks, one tensor in each is less than a tenth of all."""
    with pytest.raises(InputError, match=message):
        load_weights(small_model(backbone, depth=12), saved(state, tmp_path / "w.safetensors"))


def test_attention_over_time_is_not_left_random(tmp_path: Path) -> None:
    divided = {"kind": "divided", "frames": 2}
    state = small_model(temporal=divided, depth=5).state_dict()
    del state["encoder.vit.blocks.2.temporal_attn.proj.weight"]
    with pytest.raises(InputError, match=r"lacks .*2\.temporal_attn\.proj\.weight"):
        load_weights(
            small_model(temporal=divided, depth=5), saved(state, tmp_path / "w.safetensors")
        )


@pytest.mark.parametrize("part", ["query", "key", "value"])
def test_queries_without_keys_are_not_dropped(tmp_path: Path, part: str) -> None:
    state = to_tokshift(timm_vit().state_dict())
    missing = f"transformer.encoder.layer.0.attn.{part}.bias"
    del state[missing]
    with pytest.raises(InputError, match=r"no place for encoder.vit.blocks.0.attn.(query|key)"):
        load_weights(small_model(), saved(state, tmp_path / "w.safetensors"))
    some = {f"blocks.0.attn.{name}.bias": torch.ones(1) for name in ("query", "value")}
    assert join_qkv(some) == some


def tubelets(frames: int, **args: Any) -> TubeletEncoder:
    encoder = small_model(temporal={"kind": "tubelet", "frames": frames}, depth=5, **args).encoder
    assert isinstance(encoder, TubeletEncoder)
    return encoder


def numbered() -> State:
    """Return 8 moments of 4 x 4 places, each of which has the number of its moment."""
    theirs = tubelets(16, img_size=32)
    with torch.no_grad():
        theirs.tubelet_pos[0, 1:] = torch.arange(8.0).repeat_interleave(16)[:, None]
    return theirs.state_dict(prefix="encoder.")


@pytest.mark.parametrize("known", ["by its images", "by its config"])
@pytest.mark.parametrize(("frames", "img_size"), [(16, 16), (4, 32), (4, 24)])
def test_moments_are_told_from_places(
    tmp_path: Path, known: str, frames: int, img_size: int
) -> None:
    """8 moments of 4 x 4 places are as many as 32 of 2 x 2, or 2 of 8 x 8."""
    state = numbered()
    if known == "by its config":
        del state["encoder.vit.pos_embed"]
        config = {"image_size": 32, "tubelet_size": [2, 8, 8]}
        (tmp_path / "config.json").write_text(json.dumps(config))
    encoder = load(frames, img_size, saved(state, tmp_path / "model.safetensors"))
    moments = encoder.tubelet_pos.detach()[0, 1:].view(frames // 2, -1, 24)
    wanted = torch.arange(8.0)[:: 16 // frames, None, None].expand_as(moments)
    torch.testing.assert_close(moments, wanted, rtol=0, atol=1e-4)


def test_moments_that_could_be_places_are_refused(tmp_path: Path) -> None:
    state = numbered()
    del state["encoder.vit.pos_embed"]
    with pytest.raises(InputError, match="tubelet_pos is 1x129x24 there") as caught:
        load(4, 32, saved(state, tmp_path / "w.safetensors"))
    assert "config.json" in str(caught.value.hint)


def load(frames: int, img_size: int, source: str) -> TubeletEncoder:
    temporal = {"kind": "tubelet", "frames": frames}
    model = small_model(temporal=temporal, depth=5, img_size=img_size)
    load_weights(model, source)
    assert isinstance(model.encoder, TubeletEncoder)
    return model.encoder


@pytest.mark.parametrize(
    "config",
    [
        {"id2label": {}},
        {"vision_config": None},
        {"vision_config": "x"},
        {"image_size": [16, 16], "patch_size": 0},
        {"tubelet_size": "288", "image_size": 16},
    ],
)
def test_a_config_of_odd_values_says_nothing(tmp_path: Path, config: dict[str, Any]) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    saved(small_model().encoder.vit.state_dict(), tmp_path / "model.safetensors")
    assert load_weights(small_model(), str(tmp_path)).missing == ()


def test_new_adapters_are_not_counted_as_the_sources(tmp_path: Path) -> None:
    source = saved(small_model().encoder.vit.state_dict(), tmp_path / "w.safetensors")
    first, second = load_weights(small_model(temporal={"kind": "adaptformer"}), source).lines()
    assert first.endswith("30 of 30 encoder tensors loaded")
    assert second == "  adapters: 8 tensors, not trained yet"
