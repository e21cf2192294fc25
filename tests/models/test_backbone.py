"""The plain path is timm's own forward, for any timm ViT; what is no such ViT is refused."""

from typing import Any

import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import SMALL, images, randomise, small_model

from ivvit_cli.errors import UsageError
from ivvit_cli.models import build_model

VITS: list[tuple[str, dict[str, Any]]] = [
    ("vit_tiny_patch16_224", {}),
    ("vit_tiny_patch16_224", {"dynamic_img_size": True}),
    ("vit_base_patch16_224_miil", {"global_pool": "avgmax"}),
    ("vit_small_patch14_reg4_dinov2", {"img_size": 28, "patch_size": 14}),
    ("vit_small_patch14_dinov2", {"img_size": 28, "patch_size": 14}),
    ("vit_base_patch16_clip_quickgelu_224", {}),
    ("vit_base_patch16_siglip_224", {}),
    ("vit_base_patch16_siglip_gap_224", {}),
    ("vit_small_patch16_36x1_224", {}),
    ("vit_small_patch16_18x2_224", {}),
    ("vit_base_patch16_xp_224", {}),
    ("vit_mediumd_patch16_reg4_gap_256", {}),
    ("deit_tiny_distilled_patch16_224", {}),
    ("deit3_small_patch16_224", {}),
]
FRESH = {"num_classes": 0, "pretrained": False}


@pytest.mark.parametrize(("name", "args"), VITS)
def test_the_plain_path_is_timms_forward_bit_for_bit(name: str, args: dict[str, Any]) -> None:
    model = small_model(name, **args)
    vit = timm.create_model(name, **FRESH, **SMALL | args)
    vit.load_state_dict(model.encoder.vit.state_dict())
    size = model.input.size
    x = images(3, 3, size, size)
    (features,) = model.encoder(x, "a")
    assert torch.equal(features, vit.eval()(x))
    assert features.shape == (3, *model.encoder.feature_dims)


@settings(max_examples=15, deadline=None)
@given(
    depth=st.integers(1, 3),
    heads=st.sampled_from([1, 2, 4]),
    registers=st.integers(0, 2),
    pool=st.sampled_from(["token", "avg", "max", "map"]),
    flags=st.fixed_dictionaries(
        {
            name: st.booleans()
            for name in ("pre_norm", "no_embed_class", "qk_norm", "qkv_bias", "fc_norm")
        }
    ),
    scale=st.sampled_from([None, 0.1]),
)
def test_random_small_vits_run_as_in_timm(
    depth: int,
    heads: int,
    registers: int,
    pool: str,
    flags: dict[str, bool],
    scale: float | None,
) -> None:
    args = {
        **flags,
        "depth": depth,
        "num_heads": heads,
        "reg_tokens": registers,
        "global_pool": pool,
        "init_values": scale,
    }
    model = small_model(**args)
    vit = timm.create_model("vit_tiny_patch16_224", **FRESH, **SMALL | args)
    vit.load_state_dict(model.encoder.vit.state_dict())
    x = images(2, 3, 16, 16)
    assert torch.equal(model.encoder(x, "a")[0], vit.eval()(x))


def test_training_mode_draws_the_same_random_numbers_as_timm() -> None:
    args = {"drop_path_rate": 0.5, "patch_drop_rate": 0.5, "proj_drop_rate": 0.2, "drop_rate": 0.3}
    model = small_model(**args).train()
    vit = timm.create_model("vit_tiny_patch16_224", **FRESH, **SMALL | args)
    vit.load_state_dict(model.encoder.vit.state_dict())
    x = images(4, 3, 16, 16)
    torch.manual_seed(5)
    ours = model.encoder(x, "a")[0]
    torch.manual_seed(5)
    assert torch.equal(ours, vit.train()(x))


@pytest.mark.parametrize("kind", ["none", "token_shift"])
def test_parameters_keep_timms_names(kind: str) -> None:
    model = small_model(temporal={"kind": kind})
    vit = timm.create_model("vit_tiny_patch16_224", **FRESH, **SMALL)
    assert list(model.encoder.vit.state_dict()) == list(vit.state_dict())


@pytest.mark.parametrize("frames", [1, 2, 5])
def test_a_clip_is_the_mean_of_its_frames(frames: int) -> None:
    model = small_model("vit_small_patch14_reg4_dinov2", img_size=28, patch_size=14).double()
    clips = images(2, frames, 3, 28, 28).double()
    each = [[model.encoder(frame[None], "a")[0] for frame in clip] for clip in clips]
    expected = torch.stack([torch.cat(features).mean(0) for features in each])
    torch.testing.assert_close(model.encoder(clips, "a")[0], expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", ["none", "token_shift"])
def test_checkpointed_activations_give_the_same_gradients(kind: str) -> None:
    model = small_model(temporal={"kind": kind}).train()
    clips = images(2, 3, 3, 16, 16)
    plain = _gradients(model, clips)
    model.encoder.vit.set_grad_checkpointing()
    for one, other in zip(plain, _gradients(model, clips), strict=True):
        assert torch.equal(one, other)


def _gradients(model: torch.nn.Module, clips: torch.Tensor) -> list[torch.Tensor]:
    model.zero_grad(set_to_none=True)
    model(clips, "a").square().sum().backward()
    return [p.grad.clone() for p in model.parameters() if p.grad is not None]


def test_bf16_autocast_stays_close() -> None:
    model = small_model(temporal={"kind": "token_shift"})
    clips = images(2, 4, 3, 16, 16)
    with torch.autocast("cpu", torch.bfloat16):
        half = model(clips, "a")
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), model(clips, "a"), rtol=0.05, atol=0.1)


@pytest.mark.parametrize(
    ("name", "size", "mean"),
    [
        ("vit_small_patch14_dinov2", 518, (0.485, 0.456, 0.406)),
        ("vit_base_patch16_224.orig_in21k", 224, (0.5, 0.5, 0.5)),
        ("vit_base_patch16_clip_quickgelu_224", 224, (0.48145466, 0.4578275, 0.40821073)),
    ],
)
def test_the_input_is_what_the_backbone_was_made_for(
    name: str, size: int, mean: tuple[float, ...]
) -> None:
    shrunk = {"depth": 1, "embed_dim": 24, "num_heads": 3}
    model = build_model({"backbone": name, "backbone_args": shrunk}, {"a": 2})
    assert (model.input.size, model.input.mean) == (size, mean)
    model = build_model({"backbone": name, "backbone_args": shrunk | {"img_size": 56}}, {"a": 2})
    assert model.input.size == 56


def test_a_seed_decides_the_weights() -> None:
    one, other = (_seeded(3) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert not torch.equal(one[0], _seeded(4)[0])


def _seeded(seed: int) -> list[torch.Tensor]:
    torch.manual_seed(seed)
    model = build_model({"backbone": "vit_tiny_patch16_224", "backbone_args": SMALL}, {"a": 2})
    return list(model.state_dict().values())


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"backbone": "resnet50"}, "is no Vision Transformer"),
        ({"backbone": "swin_base_patch4_window7_224"}, "is no Vision Transformer"),
        ({"backbone": "vit_bse_patch16_224"}, "is unknown to timm"),
        ({"backbone": "hf-hub:timm/vit_base_patch16_224"}, "is unknown to timm"),
        ({"backbone": "vit_tiny_patch16_224.nonsense"}, "nonsense"),
        ({"backbone": "vit_tiny_patch16_224", "backbone_args": {"dpth": 3}}, "dpth"),
        ({"backbone": "vit_tiny_patch16_224", "backbone_args": {"num_heads": 5}}, "num_heads"),
        ({"backbone": "vit_tiny_patch16_224", "backbone_args": {"depth": "many"}}, "depth|str"),
        ({"backbone": "vit_tiny_patch16_224", "backbone_args": {"pretrained": True}}, "pretrained"),
        ({"backbone": "vit_tiny_patch16_224", "backbone_args": {"global_pool": ""}}, "global_pool"),
        ({"backbone": "vit_tiny_patch16_224", "backbone_args": {"img_size": [16, 32]}}, "square"),
        ({"backbone_args": {}}, "backbone"),
        ({"backbone": "vit_tiny_patch16_224", "temporl": {"kind": "none"}}, "temporl"),
    ],
)
def test_what_cannot_be_built_is_one_line(model: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        build_model(model, {"a": 2})
    assert "\n" not in str(caught.value)


def test_a_misspelt_backbone_gets_a_suggestion() -> None:
    with pytest.raises(UsageError) as caught:
        build_model({"backbone": "vit_bse_patch16_224"}, {"a": 2})
    assert "vit_base_patch16_224" in str(caught.value.hint)


@pytest.mark.parametrize("name", ["vit_tiny_r_s16_p8_224", "deit_tiny_patch16_224", "test_vit2"])
def test_hybrids_and_deits_take_clips_too(name: str) -> None:
    model = build_model({"backbone": name, "backbone_args": {"img_size": 32}}, {"a": 2})
    assert randomise(model)(images(1, 2, 3, 32, 32), "a").shape == (1, 2)
