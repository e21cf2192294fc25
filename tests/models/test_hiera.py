"""Hiera as a backbone: timm's own features, and AM Flow where its attention is global."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from small_models import images, randomise

from ivvit_cli.errors import UsageError
from ivvit_cli.models import JointModel, build_model, load_weights
from ivvit_cli.models.adapters.encoder import AdaptedEncoder
from ivvit_cli.models.hiera import attend, shortcut
from ivvit_cli.models.temporal.am_flow import AmFlow

# Tokens 16 x 16, 8 x 8, 4 x 4 and 2 x 2; global attention in blocks 5 to 8, of which 7 pools.
SIZES: dict[str, Any] = {"img_size": 64, "embed_dim": 8, "stages": (2, 1, 3, 2)}
NAME = "hiera_tiny_224"
GLOBAL = (5, 6, 8)
# Of the third stage, block 4 still attends within mask units: it pools the second's.
AM_FLOW: dict[str, Any] = {
    "kind": "am_flow",
    "flow": {"kind": "vanilla"},
    "adapter": {"kind": "plain", "width": 4},
    "unit": {"kind": "mean"},
}


def hiera(
    temporal: dict[str, Any] | None = None, *, fresh: bool = False, **section: Any
) -> JointModel:
    """Build a small joint model on a Hiera."""
    torch.manual_seed(0)
    section = {"backbone": NAME, "backbone_args": SIZES} | section
    model = build_model(section | {"temporal": temporal or {"kind": "none"}}, {"a": 3}).eval()
    if not fresh:
        randomise(model)
    return model


def timm_hiera(classes: int = 0, **sizes: Any) -> torch.nn.Module:
    """Build timm's own."""
    return randomise(timm.create_model(NAME, num_classes=classes, **SIZES | sizes), 4).eval()


def flows(model: JointModel) -> list[int]:
    """Return the blocks that have AM Flow, from 1."""
    assert isinstance(model.encoder, AdaptedEncoder)
    blocks = model.encoder.additions("a").blocks
    return [n for n, block in enumerate(blocks, start=1) if isinstance(block.flow, AmFlow)]


@torch.no_grad()
def test_features_are_timms_own_and_a_clips_their_mean() -> None:
    model, own = hiera(), timm_hiera()
    own.load_state_dict(model.encoder.vit.state_dict())
    clip = images(1, 3, 3, 64, 64)
    frames = own(clip[0])
    assert torch.equal(model.encoder(clip[0], "a")[0], frames)
    assert torch.allclose(model.encoder(clip, "a")[0], frames.mean(0, keepdim=True), atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("placement", ["parallel", "serial"])
def test_adapters_start_by_adding_nothing(placement: str) -> None:
    adapter = {**AM_FLOW["adapter"], "placement": placement}
    model = hiera({**AM_FLOW, "adapter": adapter}, fresh=True)
    own = timm_hiera()
    own.load_state_dict(model.encoder.vit.state_dict())
    clip = images(2, 3, 3, 64, 64)
    features = model.encoder(clip, "a")
    assert torch.equal(features[-1], own(clip[:, -1]))
    assert len(features) == 2 * len(GLOBAL) + 1


def test_flow_is_where_attention_is_global_and_does_not_pool() -> None:
    model = hiera(AM_FLOW)
    assert flows(model) == list(GLOBAL)
    assert flows(hiera({**AM_FLOW, "blocks": [5, 8]})) == [5, 8]
    widths = {
        name: tuple(p.shape)
        for name, p in model.named_parameters()
        if "adapters" in name and name.endswith("attn.down.weight")
    }
    # D of the block's output, and one column per head where it has flow.
    assert [shape[1] for shape in widths.values()] == [8, 8, 16, 32, 32 + 4, 32 + 4, 64, 64 + 8]


@pytest.mark.parametrize(
    ("temporal", "message"),
    [
        ({**AM_FLOW, "blocks": [1]}, "some of 5, 6, 8, not"),
        ({**AM_FLOW, "blocks": [7]}, "some of 5, 6, 8, not"),
        ({**AM_FLOW, "adapter": {"kind": "hyperformer"}}, "several widths"),
        ({"kind": "token_shift"}, "this backbone has none"),
        ({"kind": "msca"}, "HieraBlock"),
        ({"kind": "divided", "frames": 2}, "HieraBlock"),
        ({"kind": "joint", "frames": 2}, "HieraBlock"),
        ({"kind": "tubelet", "frames": 2}, "needs a ViT of patches"),
        ({"kind": "st_adapter"}, "HieraBlock"),
        ({"kind": "adaptformer"}, "HieraBlock"),
    ],
)
def test_what_is_not_defined_here(temporal: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        hiera(temporal)


def test_embeddings_of_clips_and_dropped_patches_are_refused() -> None:
    with pytest.raises(UsageError, match="separate"):
        hiera(separate=["patch"])
    with pytest.raises(UsageError, match="patch_drop_rate"):
        hiera(backbone_args={**SIZES, "patch_drop_rate": 0.5})


@torch.no_grad()
def test_attention_and_shortcut_are_timms() -> None:
    model = hiera()
    tokens = model.encoder.embed(images(2, 3, 64, 64))
    for number, block in enumerate(model.encoder.vit.blocks, start=1):
        normed = block.norm1(tokens)
        if number in GLOBAL:
            assert torch.equal(attend(block.attn, normed)[0], block.attn(normed))
        added = shortcut(block, tokens, normed) + block.attn(normed)
        out = added + block.mlp(block.norm2(added))
        tokens = block(tokens)
        assert torch.equal(out, tokens)


@torch.no_grad()
def test_a_shortcut_without_projection() -> None:
    section = {"backbone": NAME, "backbone_args": {**SIZES, "use_expand_proj": False}}
    block = randomise(build_model(section, {"a": 3}), 1).encoder.vit.blocks[2]
    tokens = images(2, 16 * 16, 8)
    normed = block.norm1(tokens)
    added = shortcut(block, tokens, normed) + block.attn(normed)
    assert torch.equal(added + block.mlp(block.norm2(added)), block(tokens))


def last_flow(model: JointModel, clip: torch.Tensor) -> torch.Tensor:
    """Return the AM Flow of block 8."""
    seen: list[torch.Tensor] = []
    assert isinstance(model.encoder, AdaptedEncoder)
    flow = model.encoder.additions("a").blocks[7].flow
    with flow.register_forward_hook(lambda module, args, out: seen.append(out)):
        model(clip, "a")
    return seen[0]


@torch.no_grad()
def test_only_motion_gives_flow() -> None:
    model = hiera(AM_FLOW)
    frame = images(1, 1, 3, 64, 64)
    still, moving = frame.expand(-1, 3, -1, -1, -1), images(1, 3, 3, 64, 64)
    for clip, is_still in ((still, True), (moving, False)):
        flow = last_flow(model, clip)
        assert flow.shape == (3, 4, 8)
        assert bool(((flow - 1).abs() < 1e-5).all()) is is_still


def test_all_adapters_learn_and_the_backbone_does_not() -> None:
    model = hiera(
        {**AM_FLOW, "flow": {"kind": "aligned"}, "unit": {"kind": "lstm"}}, freeze=["backbone"]
    ).train()
    model(images(2, 3, 3, 64, 64), "a").square().sum().backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is None) == name.startswith("encoder.vit."), name


def test_activation_checkpointing_changes_nothing() -> None:
    model, clip = hiera(AM_FLOW).train(), images(1, 2, 3, 64, 64)
    gradients = []
    for light in (False, True):
        model.zero_grad()
        model.encoder.vit.set_grad_checkpointing(light)
        model(clip, "a").sum().backward()
        gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


@pytest.mark.parametrize("side", [64, 32])
def test_timms_weights_load(tmp_path: Path, side: int) -> None:
    own = timm_hiera(3, img_size=side)
    path = tmp_path / "hiera.safetensors"
    save_file(own.state_dict(), path)
    model = hiera()
    report = load_weights(model, str(path), head="a")
    assert not report.missing
    if side == 64:
        x = images(2, 3, 64, 64)
        with torch.no_grad():
            assert torch.equal(model(x, "a"), own(x))
