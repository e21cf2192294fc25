"""LoRA: it starts as the frozen backbone, learns beside it, and is all that a run stores of it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from small_models import images, randomise, small_model, timm_vit

from ivvit_cli.errors import UsageError
from ivvit_cli.models import JointModel, build_model, load_weights
from ivvit_cli.models.weights.frozen import find_frozen

pytest.importorskip("peft", reason="peft is not installed")
FROZEN: dict[str, Any] = {"freeze": ["backbone"], "lora": {"rank": 2}}
KINDS: list[dict[str, Any]] = [
    {"kind": "none"},
    {"kind": "token_shift"},
    {"kind": "msca"},
    {"kind": "divided", "frames": 2},
    {"kind": "joint", "frames": 2},
    {"kind": "am_flow", "unit": {"kind": "mean"}},
    {"kind": "st_adapter", "width": 4},
]


def with_lora(temporal: dict[str, Any] | None = None, **section: Any) -> JointModel:
    """Build a small model with LoRA, whose first update is zero as in training."""
    torch.manual_seed(0)
    model = small_model(temporal=temporal, model=FROZEN | section)
    for name, parameter in model.named_parameters():
        if ".lora_B." in name:
            torch.nn.init.zeros_(parameter)
    return model


def updates(model: JointModel) -> dict[str, torch.Tensor]:
    """Return the parameters of LoRA."""
    return {name: p for name, p in model.named_parameters() if ".lora_" in name}


@pytest.mark.parametrize("temporal", KINDS, ids=lambda kind: str(kind["kind"]))
def test_it_starts_as_the_backbone_and_learns_in_every_kind(temporal: dict[str, Any]) -> None:
    model, plain = with_lora(temporal), small_model(temporal=temporal)
    own = {name.replace(".base_layer.", "."): p for name, p in model.state_dict().items()}
    plain.load_state_dict({name: own[name] for name in plain.state_dict()})
    clip = images(2, 2, 3, 16, 16)
    torch.testing.assert_close(model(clip, "a"), plain(clip, "a"), rtol=1e-5, atol=1e-5)
    for parameter in updates(model).values():
        torch.nn.init.ones_(parameter)
    assert not torch.allclose(model(clip, "a"), plain(clip, "a"), atol=1e-2)
    model.train()(clip, "a").square().sum().backward()
    for name, parameter in updates(model).items():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
    assert all(p.grad is None for n, p in model.named_parameters() if ".base_layer." in n)


def test_sizes_and_places() -> None:
    model = with_lora(lora={"rank": 2, "targets": ["qkv", "fc2"]})
    shapes = {name: tuple(p.shape) for name, p in updates(model).items() if ".0." in name}
    layer = "encoder.vit.blocks.0"
    assert shapes == {
        f"{layer}.attn.qkv.lora_A.default.weight": (2, 24),
        f"{layer}.attn.qkv.lora_B.default.weight": (72, 2),
        f"{layer}.mlp.fc2.lora_A.default.weight": (2, 48),
        f"{layer}.mlp.fc2.lora_B.default.weight": (24, 2),
    }


def test_the_update_is_scaled_by_alpha_over_rank() -> None:
    model = with_lora(lora={"rank": 2, "alpha": 6, "targets": ["proj"]})
    layer = model.encoder.vit.blocks[0].attn.proj
    for parameter in updates(model).values():
        torch.nn.init.ones_(parameter)
    x = images(1, 24)
    expected = layer.base_layer(x) + 3 * 2 * x.sum(-1, keepdim=True)
    torch.testing.assert_close(layer(x), expected, rtol=1e-5, atol=1e-4)


def test_a_backbones_weights_load_and_only_updates_are_stored(tmp_path: Path) -> None:
    path = tmp_path / "vit.safetensors"
    save_file(timm_vit().state_dict(), path)
    model = with_lora()
    before = {name: p.clone() for name, p in updates(model).items()}
    report = load_weights(model, str(path))
    assert not report.missing
    assert all(torch.equal(p, before[name]) for name, p in updates(model).items())
    frozen = find_frozen(model, str(path), report.loaded)
    assert frozen is not None
    assert frozen.names == {n for n, p in model.named_parameters() if not p.requires_grad}
    stored = model.state_dict().keys() - frozen.names
    assert stored == updates(model).keys() | {n for n in model.state_dict() if "heads." in n}


def test_its_own_weights_load_again(tmp_path: Path) -> None:
    first, second = randomise(with_lora(), 1), with_lora()
    path = tmp_path / "lora.safetensors"
    save_file(first.state_dict(), path)
    load_weights(second, str(path))
    clip = images(1, 2, 3, 16, 16)
    assert torch.equal(first.encoder(clip, "a")[0], second.encoder(clip, "a")[0])


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"freeze": []}, "frozen backbone"),
        ({"freeze": ["encoder.vit.blocks.*"]}, "frozen backbone"),
        ({"lora": {"targets": ["gate"]}}, "no layer gate"),
    ],
)
def test_options_that_make_no_sense(section: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        with_lora(**section)


def test_without_memory() -> None:
    section = {"backbone": "vit_tiny_patch16_224", **FROZEN}
    with torch.device("meta"):
        model = build_model(section, {"a": 3})
    assert all(parameter.is_meta for parameter in model.parameters())
