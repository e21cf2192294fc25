"""Whether an update on one dataset leaves parameters without gradient, which DDP has to know."""

from typing import Any

import pytest
import torch
from small_models import images, small_model

CLIP, IMAGE = (2, 4, 3, 16, 16), (2, 3, 16, 16)
MODELS: dict[str, dict[str, Any]] = {
    "none": {},
    "token_shift": {"temporal": {"kind": "token_shift"}},
    "msca": {"temporal": {"kind": "msca"}},
    "divided": {"temporal": {"kind": "divided", "frames": 4}},
    "divided-qk-norm": {"temporal": {"kind": "divided", "frames": 4}, "qk_norm": True},
    "joint": {"temporal": {"kind": "joint", "frames": 4}},
    "space_only": {"temporal": {"kind": "space_only"}},
    "tubelet": {"temporal": {"kind": "tubelet", "frames": 4}},
    "separate": {"model": {"separate": ["patch", "pos", "cls"]}},
    "separate-patch": {"model": {"separate": ["patch"]}, "temporal": {"kind": "msca"}},
    "am_flow": {"temporal": {"kind": "am_flow"}},
    "am_flow-vanilla": {"temporal": {"kind": "am_flow", "flow": {"kind": "vanilla"}}},
    "am_flow-no-last": {"temporal": {"kind": "am_flow", "last_frame": False}},
    "st_adapter": {"temporal": {"kind": "st_adapter"}},
    "adaptformer": {"temporal": {"kind": "adaptformer"}},
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("shape", [CLIP, IMAGE], ids=["clip", "image"])
def test_every_parameter_has_a_gradient_or_the_encoder_says_so(
    name: str, shape: tuple[int, ...]
) -> None:
    model = small_model(**MODELS[name]).train()
    model(images(*shape), "a").square().sum().backward()
    without = [key for key, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert model.encoder.idle or not without, without


@pytest.mark.parametrize("name", ["tubelet", "separate"])
def test_it_is_not_said_for_nothing(name: str) -> None:
    model = small_model(**MODELS[name]).train()
    model(images(*IMAGE), "a").sum().backward()
    assert any(p.grad is None for p in model.parameters())
    assert not small_model(**MODELS["token_shift"]).encoder.idle


@pytest.mark.parametrize("kind", ["plain", "hyperformer", "compacter"])
def test_adapters_run_in_bf16(kind: str) -> None:
    adapter = {"kind": kind, "width": 8}
    temporal = {"kind": "am_flow", "adapter": adapter, "unit": {"kind": "mean"}}
    model = small_model(temporal=temporal).train()
    with torch.autocast("cpu", torch.bfloat16):
        model(images(*CLIP), "a").sum().backward()
    assert all(p.grad is not None for n, p in model.named_parameters() if "adapters" in n)
