"""Every temporal kind on every sort of ViT that timm has: it runs, or one line says why not."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from small_models import SMALL, images, randomise, small_model

from ivvit_cli.errors import UsageError
from ivvit_cli.models import build_model, load_weights
from ivvit_cli.models.backbone import list_vits

KINDS: dict[str, dict[str, Any]] = {
    "none": {},
    "token_shift": {},
    "msca": {},
    "divided": {"frames": 2},
    "joint": {"frames": 2},
    "space_only": {},
    "tubelet": {"frames": 2, "depth": 2},
}
WITH_CLASS_TOKEN = [
    "vit_tiny_patch16_224",
    "vit_small_patch8_224",
    "vit_base_patch32_384",
    "vit_large_patch14_224",
    "vit_huge_patch14_224",
    "deit_tiny_patch16_224",
    "deit_small_distilled_patch16_224",
    "deit3_large_patch16_384",
    "vit_small_patch14_dinov2",
    "vit_base_patch14_reg4_dinov2",
    "vit_giant_patch14_dinov2",
    "vit_base_patch16_clip_quickgelu_224",
    "vit_huge_patch14_clip_224",
    "vit_base_patch16_plus_240",
]
WITHOUT = [
    "vit_base_patch16_siglip_gap_224",
    "vit_so400m_patch14_siglip_224",
    "vit_base_patch16_gap_224",
]
OTHER_BLOCKS = ["vit_small_patch16_18x2_224", "vit_base_patch16_xp_224"]
ON_ANY = ("none", "space_only")


def runs(name: str, kind: str) -> None:
    """Run an image and a clip through two blocks of a model without values."""
    section = {"backbone": name, "backbone_args": {"depth": 2}}
    with torch.device("meta"), torch.no_grad():
        model = build_model(section | {"temporal": {"kind": kind} | KINDS[kind]}, {"a": 3}).eval()
        size = model.input.size
        assert model(torch.empty(2, 3, size, size), "a").shape == (2, 3)
        assert model(torch.empty(2, 2, 3, size, size), "a").shape == (2, 3)


def has_class_token(name: str) -> bool:
    with torch.device("meta"):
        return bool(timm.create_model(name, depth=1).has_class_token)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", WITH_CLASS_TOKEN)
def test_a_vit_with_a_class_token(name: str, kind: str) -> None:
    assert has_class_token(name)
    runs(name, kind)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", WITHOUT)
def test_a_vit_without_a_class_token(name: str, kind: str) -> None:
    assert not has_class_token(name)
    if kind == "token_shift":
        with pytest.raises(UsageError, match="moves class tokens, and this backbone has none"):
            runs(name, kind)
    else:
        runs(name, kind)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", OTHER_BLOCKS)
def test_a_vit_of_other_blocks(name: str, kind: str) -> None:
    if kind in (*ON_ANY, "tubelet"):
        runs(name, kind)
    else:
        with pytest.raises(UsageError, match="is not defined on blocks of type Parallel"):
            runs(name, kind)


def test_every_name_of_timm_is_in_reach() -> None:
    names = list_vits()
    assert len(names) > 150
    assert {*WITH_CLASS_TOKEN, *WITHOUT, *OTHER_BLOCKS} <= {*names}


@pytest.mark.parametrize("name", WITH_CLASS_TOKEN + WITHOUT)
def test_weights_of_timm_give_the_numbers_of_timm(tmp_path: Path, name: str) -> None:
    """In float64; of a distilled model, the first head on the mean of both tokens."""
    vit = randomise(timm.create_model(name, num_classes=5, **SMALL)).eval()
    path = tmp_path / "w.safetensors"
    save_file(vit.state_dict(), path)
    model = small_model(name, seed=9)
    report = load_weights(model, str(path), head="a")
    assert (report.format, report.share, report.resized) == ("timm", 1, ())
    assert all("head_dist" in unused for unused in report.unused)
    x = images(2, 3, 16, 16).double()
    theirs = vit.double()
    expected = theirs.head(theirs.forward_head(theirs.forward_features(x), pre_logits=True))
    assert (model.double()(x, "a") - expected).abs().max() <= 1e-9
