"""Tubelets against a naive implementation, and how they start from the weights of images."""

from pathlib import Path
from typing import Any

import naive_vit
import numpy as np
import pytest
import torch
from naive_vit import Array, State
from safetensors.torch import save_file
from small_models import images, small_model

from ivvit_cli.errors import UsageError
from ivvit_cli.models import JointModel, load_weights


def polyvit(frames: int = 4, depth: int = 2, **args: Any) -> JointModel:
    inflation = args.pop("inflation", "central")
    temporal = {"kind": "tubelet", "frames": frames, "depth": depth, "inflation": inflation}
    return small_model(temporal=temporal, **args)


def naive(state: State, clip: Array, heads: int) -> Array:
    """The class token of a clip (T, 3, H, W), token by token."""
    kernel, bias = state["tubelet_embed.weight"], state["tubelet_embed.bias"]
    depth, size = kernel.shape[2:4]
    rows = [state["vit.cls_token"][0, 0]]
    for t in range(0, len(clip), depth):
        for top in range(0, clip.shape[2], size):
            for left in range(0, clip.shape[3], size):
                tube = clip[t : t + depth, :, top : top + size, left : left + size]
                rows.append((kernel * tube.transpose(1, 0, 2, 3)).sum((1, 2, 3, 4)) + bias)
    vit = {name.removeprefix("vit."): value for name, value in state.items()}
    x = np.stack(rows) + state["tubelet_pos"][0]
    blocks = {name: value for name, value in vit.items() if name.startswith("blocks.")}
    for block in naive_vit.blocks(blocks):
        x = x + naive_vit.attention(block, naive_vit.norm(block, "norm1", x), heads)
        x = x + naive_vit.mlp(block, naive_vit.norm(block, "norm2", x))
    return naive_vit.norm(vit, "norm", x)[0]


@pytest.mark.parametrize(("frames", "depth"), [(4, 2), (6, 3), (2, 2), (3, 1)])
def test_a_clip_as_the_naive_implementation(frames: int, depth: int) -> None:
    model = polyvit(frames, depth).double()
    clips = images(2, frames, 3, 16, 16).double()
    state = {name: value.numpy() for name, value in model.encoder.state_dict().items()}
    expected = np.stack([naive(state, clip, 3) for clip in clips.numpy()])
    ours = model.encoder(clips, "a")[0].detach().numpy()
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-10)


def test_a_clip_read_backwards_through_mirrored_tubelets_is_the_clip() -> None:
    model = polyvit(6, 3).double()
    clips = images(2, 6, 3, 16, 16).double()
    forwards, encoder = model(clips, "a"), model.encoder
    with torch.no_grad():
        encoder.tubelet_embed.weight.copy_(encoder.tubelet_embed.weight.flip(2))
        own, *moments = encoder.tubelet_pos.split((1, 4, 4), dim=1)
        encoder.tubelet_pos.copy_(torch.cat((own, *moments[::-1]), dim=1))
    torch.testing.assert_close(model(clips.flip(1), "a"), forwards, rtol=1e-12, atol=1e-12)


def test_images_pass_as_through_the_plain_vit() -> None:
    model, plain, x = polyvit(), small_model(), images(3, 3, 16, 16)
    plain.encoder.vit.load_state_dict(model.encoder.vit.state_dict())
    assert torch.equal(model.encoder(x, "a")[0], plain.encoder(x, "a")[0])
    assert torch.equal(model(x[:, None], "a"), model(x, "a"))


@pytest.mark.parametrize("frames", [2, 8, 12])
def test_clips_of_other_lengths_take_the_nearest_moments(frames: int) -> None:
    model, longer = polyvit(4), polyvit(frames)
    longer.encoder.vit.load_state_dict(model.encoder.vit.state_dict())
    longer.encoder.tubelet_embed.load_state_dict(model.encoder.tubelet_embed.state_dict())
    longer.heads.load_state_dict(model.heads.state_dict())
    own, *moments = model.encoder.tubelet_pos.split((1, 4, 4), dim=1)
    taken = [moments[t * 2 // (frames // 2)] for t in range(frames // 2)]
    with torch.no_grad():
        longer.encoder.tubelet_pos.copy_(torch.cat((own, *taken), dim=1))
    clips = images(2, frames, 3, 16, 16)
    assert torch.equal(model(clips, "a"), longer(clips, "a"))


BACKBONES = [
    ("vit_tiny_patch16_224", {}),
    ("deit_tiny_distilled_patch16_224", {}),
    ("vit_small_patch14_reg4_dinov2", {"img_size": 28, "patch_size": 14}),
    ("vit_base_patch16_clip_quickgelu_224", {}),
    ("vit_base_patch16_siglip_gap_224", {}),
]


@pytest.mark.parametrize("inflation", ["central", "average"])
@pytest.mark.parametrize(("backbone", "args"), BACKBONES)
def test_weights_of_images_see_a_still_tubelet_as_an_image(
    tmp_path: Path, backbone: str, args: dict[str, Any], inflation: str
) -> None:
    plain, path = small_model(backbone, seed=7, **args), tmp_path / "vit.safetensors"
    save_file(plain.encoder.vit.state_dict(), path)
    model = polyvit(2, 2, backbone=backbone, inflation=inflation, **args)
    report = load_weights(model, str(path))
    bias = plain.encoder.vit.patch_embed.proj.bias
    assert (len(report.derived), report.missing) == (2 if bias is None else 3, ())
    x = images(2, 3, plain.input.size, plain.input.size)
    other = images(2, 3, plain.input.size, plain.input.size, seed=9)
    seen = x if inflation == "central" else (x + other) / 2
    ours = model.encoder(torch.stack((other, x), dim=1), "a")[0]
    torch.testing.assert_close(ours, plain.encoder(seen, "a")[0], rtol=1e-4, atol=1e-4)


def test_weights_of_another_size_are_fitted_first(tmp_path: Path) -> None:
    plain, path = small_model(seed=7), tmp_path / "vit.safetensors"
    save_file(plain.encoder.vit.state_dict(), path)
    model = polyvit(2, 2, img_size=32)
    assert load_weights(model, str(path)).resized == ("encoder.vit.pos_embed",)
    assert torch.equal(model.encoder.tubelet_pos, model.encoder.vit.pos_embed)


def test_a_run_brings_its_own(tmp_path: Path) -> None:
    trained, path = polyvit(seed=5), tmp_path / "model.safetensors"
    save_file(trained.state_dict(), path)
    model = polyvit()
    assert load_weights(model, str(path), head="a").derived == ()
    clips = images(2, 4, 3, 16, 16)
    assert torch.equal(model(clips, "a"), trained(clips, "a"))


def test_gradients_reach_the_tokenizer_and_not_that_of_images() -> None:
    model = polyvit()
    model(images(2, 4, 3, 16, 16), "a").square().sum().backward()
    idle = {name for name, p in model.named_parameters() if p.grad is None}
    names = ("pos_embed", "patch_embed.proj.weight", "patch_embed.proj.bias")
    assert idle == {f"encoder.vit.{name}" for name in names}


@pytest.mark.parametrize(
    ("backbone", "args", "temporal", "message"),
    [
        ("vit_tiny_patch16_224", {"dynamic_img_size": True}, {}, "fixed input size"),
        ("vit_tiny_r_s16_p8_224", {"img_size": 32}, {}, "of patches"),
        ("vit_tiny_patch16_224", {}, {"frames": 5}, "multiple of depth 2, not 5"),
        ("vit_tiny_patch16_224", {}, {"depth": 0}, "depth 0"),
        ("vit_tiny_patch16_224", {}, {"inflation": "none"}, "inflation"),
    ],
)
def test_what_it_cannot_work_on_is_refused(
    backbone: str, args: dict[str, Any], temporal: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        small_model(backbone, temporal={"kind": "tubelet"} | temporal, **args)


def test_embeddings_that_are_apart_already_are_not_separated() -> None:
    with pytest.raises(UsageError, match="as it is"):
        small_model(temporal={"kind": "tubelet"}, model={"separate": ["patch"]})


def test_a_clip_that_the_depth_does_not_divide_is_refused() -> None:
    with pytest.raises(UsageError, match="clips of 3 frames do not fit depth 2"):
        polyvit()(images(1, 3, 3, 16, 16), "a")
