"""Embeddings that clips have for themselves: which tokens they move, and how they start."""

from itertools import chain, combinations
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from small_models import images, small_model

from ivvit_cli.errors import UsageError
from ivvit_cli.models import JointModel, load_weights
from ivvit_cli.models.clip_stem import PARTS

CHOICES = list(chain.from_iterable(combinations(PARTS, n) for n in (1, 2, 3)))
BACKBONES = [
    ("vit_tiny_patch16_224", {}),
    ("vit_tiny_patch16_224", {"reg_tokens": 2, "no_embed_class": True}),
    ("vit_base_patch16_clip_quickgelu_224", {}),
    ("vit_small_patch14_reg4_dinov2", {"img_size": 28, "patch_size": 14}),
]


def started(parts: tuple[str, ...], backbone: str = BACKBONES[0][0], **args: Any) -> JointModel:
    """A random model whose clips start with the embeddings of images."""
    model = small_model(backbone, **args)
    model.encoder.separate(parts)
    return model


@pytest.mark.parametrize(("backbone", "args"), BACKBONES)
@pytest.mark.parametrize("parts", CHOICES)
def test_copies_embed_as_the_vit_does(
    backbone: str, args: dict[str, Any], parts: tuple[str, ...]
) -> None:
    model, plain = started(parts, backbone, **args), small_model(backbone, **args)
    clips = images(2, 3, 3, model.input.size, model.input.size)
    assert torch.equal(model(clips, "a"), plain(clips, "a"))


@pytest.mark.parametrize("part", PARTS)
def test_a_part_moves_its_own_tokens_of_clips_alone(part: str) -> None:
    model = started((part,))
    x, clips = images(2, 3, 16, 16), images(2, 3, 3, 16, 16)
    with torch.no_grad():
        before = model.encoder.embed(x), model.encoder.embed(clips)
        for parameter in model.encoder.clip_stem.parameters():
            parameter += 1
        after = model.encoder.embed(x), model.encoder.embed(clips)
    assert torch.equal(after[0], before[0])
    moved = (after[1] != before[1]).any(-1).all(0)  # (N,)
    assert moved.tolist() == [part != "patch"] + [part != "cls"] * 4


@pytest.mark.parametrize("parts", CHOICES)
def test_gradients_go_to_the_parts_of_the_kind(parts: tuple[str, ...]) -> None:
    model = small_model(model={"separate": parts})
    for x, own in ((images(2, 3, 3, 16, 16), True), (images(2, 3, 16, 16), False)):
        model.zero_grad(set_to_none=True)
        model(x, "a").square().sum().backward()
        stem, vit = model.encoder.clip_stem, model.encoder.vit
        assert all((p.grad is not None) == own for p in stem.parameters())
        for part, name in PARTS.items():
            shared = dict(vit.named_parameters())
            theirs = [p for key, p in shared.items() if key.startswith(name)]
            used = not (own and part in parts)
            assert all((p.grad is not None) == used for p in theirs)


@pytest.mark.parametrize("kind", ["token_shift", "msca", "divided"])
def test_it_goes_with_every_kind(kind: str) -> None:
    model = small_model(temporal={"kind": kind}, model={"separate": ["patch"]})
    clips = images(2, 3, 3, 16, 16)
    before = model(clips, "a")
    with torch.no_grad():
        model.encoder.clip_stem.patch_embed.proj.bias += 1
    assert not torch.equal(model(clips, "a"), before)


@pytest.mark.parametrize("size", [16, 32])
@pytest.mark.parametrize("parts", CHOICES)
def test_weights_of_a_vit_start_both(tmp_path: Path, parts: tuple[str, ...], size: int) -> None:
    plain, path = small_model(seed=7), tmp_path / "vit.safetensors"
    save_file(plain.encoder.vit.state_dict(), path)
    model = small_model(model={"separate": parts}, img_size=size)
    report = load_weights(model, str(path))
    own = [f"encoder.clip_stem.{name}" for name in model.encoder.clip_stem.state_dict()]
    assert (sorted(report.derived), report.share, report.missing) == (sorted(own), 1, ())
    reference = small_model(img_size=size)
    load_weights(reference, str(path), head=None)
    clips = images(2, 3, 3, size, size)
    assert torch.equal(model.encoder(clips, "a")[0], reference.encoder(clips, "a")[0])


def test_a_run_brings_its_own(tmp_path: Path) -> None:
    parts = {"separate": ["patch", "pos"]}
    trained, path = small_model(model=parts, seed=5), tmp_path / "model.safetensors"
    save_file(trained.state_dict(), path)
    model = small_model(model=parts)
    assert load_weights(model, str(path), head="a").derived == ()
    clips = images(2, 3, 3, 16, 16)
    assert torch.equal(model(clips, "a"), trained(clips, "a"))


@pytest.mark.parametrize(
    ("backbone", "args", "parts", "message"),
    [
        ("vit_tiny_patch16_224", {}, ["head"], "head is none of patch, pos, cls"),
        ("vit_base_patch16_siglip_224", {}, ["cls"], "no cls_token"),
        ("vit_tiny_patch16_224", {"dynamic_img_size": True}, ["pos"], "fixed input size"),
    ],
)
def test_what_cannot_be_separated_is_refused(
    backbone: str, args: dict[str, Any], parts: list[str], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        small_model(backbone, model={"separate": parts}, **args)
