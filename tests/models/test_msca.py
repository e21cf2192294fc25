"""MSCA against a naive implementation of every variant, and what must hold of it."""

from itertools import product
from typing import Any

import naive_msca
import numpy as np
import pytest
import torch
from small_models import images, small_model
from torch.utils.flop_counter import FlopCounterMode

from ivvit_cli.errors import UsageError
from ivvit_cli.models import JointModel
from ivvit_cli.models.temporal.msca import MscaBlock, cross_attention, msca
from ivvit_cli.models.temporal.neighbours import VARIANTS

ALL = (*VARIANTS, *(f"p{variant}" for variant in VARIANTS))
BOUNDARIES = ("zero", "self")
LAYOUTS = ("paper", "official", "adjacent")


def crossing(variant: str = "KV", **options: Any) -> JointModel:
    shifted = {"backward": 1, "forward": 2 if variant.startswith("p") else 1}
    args = options.pop("args", {})
    return small_model(temporal={"kind": "msca", "variant": variant} | shifted | options, **args)


def state_of(model: JointModel) -> dict[str, Any]:
    return {name: value.numpy() for name, value in model.encoder.vit.state_dict().items()}


@pytest.mark.parametrize(("boundary", "layout"), list(product(BOUNDARIES, LAYOUTS)))
@pytest.mark.parametrize("variant", ALL)
def test_attention_as_the_naive_implementation(variant: str, boundary: str, layout: str) -> None:
    model = crossing(variant, boundary=boundary, layout=layout).double()
    block, tokens = model.encoder.vit.blocks[1], images(2, 4, 5, 24).double()
    ours = cross_attention(block.attn, tokens.flatten(0, 1), 4, block.shift).view_as(tokens)
    options = {"backward": block.shift.backward, "forward": block.shift.forward}
    options |= {"variant": variant, "boundary": boundary, "layout": layout}
    state = {name: value.numpy() for name, value in block.state_dict().items()}
    naive = [naive_msca.attention(state, clip, heads=3, **options) for clip in tokens.numpy()]
    np.testing.assert_allclose(ours.detach().numpy(), np.stack(naive), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("variant", "backward", "forward", "frames"),
    [("KV", 1, 1, 2), ("Q", 0, 3, 3), ("QKV", 2, 0, 5), ("pKV", 2, 3, 3), ("pV", 0, 1, 2)],
)
def test_a_clip_as_the_naive_implementation(
    variant: str, backward: int, forward: int, frames: int
) -> None:
    model = crossing(variant, backward=backward, forward=forward).double()
    clip = images(1, frames, 3, 16, 16).double()
    naive = naive_msca.clip_feature(
        state_of(model),
        clip[0].numpy(),
        heads=3,
        variant=variant,
        backward=backward,
        forward=forward,
        boundary="zero",
        layout="paper",
    )
    ours = model.encoder(clip, "a")[0][0].detach().numpy()
    np.testing.assert_allclose(ours, naive, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("boundary", "layout"), list(product(BOUNDARIES, LAYOUTS)))
def test_qkv_is_a_shift_of_what_plain_heads_give(boundary: str, layout: str) -> None:
    """Section 3.2: MSCA-QKV is equivalent to a shift of features."""
    block = crossing("QKV", boundary=boundary, layout=layout).double().encoder.vit.blocks[0]
    tokens = images(8, 5, 24).double()
    ours = cross_attention(block.attn, tokens, 4, block.shift)
    proj, block.attn.proj = block.attn.proj, torch.nn.Identity()
    heads = block.attn(tokens).view(8, 5, 3, 8).transpose(1, 2)  # (B*T, heads, N, head width)
    shifted = proj(block.shift(heads, 4).transpose(1, 2).flatten(2))
    torch.testing.assert_close(ours, shifted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("backbone", ["vit_tiny_patch16_224", "vit_base_patch16_clip_224"])
def test_images_bypass_the_shift(backbone: str) -> None:
    crossed = small_model(backbone, temporal={"kind": "msca"})
    plain = small_model(backbone)
    x = images(3, 3, 16, 16)
    assert torch.equal(crossed(x, "a"), plain(x, "a"))
    assert torch.equal(crossed(x[:, None], "a"), plain(x, "a"))


@pytest.mark.parametrize("options", [{"backward": 0, "forward": 0}, {"blocks": "last:0"}])
@pytest.mark.parametrize("variant", ["KV", "pQ"])
def test_nothing_shifted_is_the_plain_vit(variant: str, options: dict[str, Any]) -> None:
    clips = images(2, 4, 3, 16, 16)
    assert torch.equal(crossing(variant, **options)(clips, "a"), small_model()(clips, "a"))


@pytest.mark.parametrize(
    "args", [{"qk_norm": True}, {"scale_attn_norm": True}, {"init_values": 0.1}, {"reg_tokens": 2}]
)
def test_a_still_clip_is_the_plain_vit(args: dict[str, Any]) -> None:
    """With `self` at the ends, equal frames give and take the same, whatever the attention is."""
    still = images(2, 1, 3, 16, 16).double().expand(-1, 4, -1, -1, -1)
    for variant in ALL:
        crossed = crossing(variant, boundary="self", args=args).double()
        plain = small_model(**args).double()
        torch.testing.assert_close(crossed(still, "a"), plain(still, "a"), rtol=1e-12, atol=1e-12)


def test_the_scale_is_the_attentions_own() -> None:
    still = images(2, 1, 3, 16, 16).double().expand(-1, 4, -1, -1, -1)
    crossed, plain = crossing(boundary="self").double(), small_model().double()
    for model in (crossed, plain):
        for block in model.encoder.vit.blocks:
            block.attn.scale = 0.05
    torch.testing.assert_close(crossed(still, "a"), plain(still, "a"), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("variant", ["KV", "pQV"])
def test_a_mirrored_clip_is_the_mirrored_layout(variant: str) -> None:
    paper = crossing(variant, backward=2, forward=1, layout="paper").double()
    adjacent = crossing(variant, backward=1, forward=2, layout="adjacent").double()
    clips = images(2, 4, 3, 16, 16).double()
    torch.testing.assert_close(
        paper(clips, "a"), adjacent(clips.flip(1), "a"), rtol=1e-12, atol=1e-12
    )
    assert (paper(clips, "a") - paper(clips.flip(1), "a")).abs().max() > 1e-3


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("variant", ["QKV", "pKV"])
def test_gradients(variant: str, boundary: str) -> None:
    block = crossing(variant, boundary=boundary).double().encoder.vit.blocks[0]
    x = images(3, 4, 24).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda y: cross_attention(block.attn, y, 3, block.shift), x)


@pytest.mark.parametrize("variant", ["KV", "pKV"])
def test_it_costs_no_flops_and_no_parameters(variant: str) -> None:
    clips = images(2, 4, 3, 16, 16)
    counts = []
    for model in (crossing(variant), small_model()):
        with FlopCounterMode(display=False) as counter:
            model(clips, "a").sum().backward()
        counts.append((counter.get_total_flops(), list(model.state_dict())))
    assert counts[0] == counts[1]


def test_a_compiler_sees_one_graph() -> None:
    model = crossing("QKV")
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True, dynamic=False)
    clips = images(2, 4, 3, 16, 16)
    torch.testing.assert_close(compiled(clips, "a"), model(clips, "a"), rtol=1e-4, atol=1e-4)


def test_clips_of_a_batch_do_not_meet() -> None:
    model = crossing("pQKV").double()
    clips = images(3, 4, 3, 16, 16).double()
    alone = torch.cat([model(clip[None], "a") for clip in clips])
    torch.testing.assert_close(model(clips, "a"), alone, rtol=1e-12, atol=1e-12)


def test_only_the_last_blocks_cross() -> None:
    blocks = crossing(blocks="last:2", args={"depth": 3}).encoder.vit.blocks
    assert [isinstance(block, MscaBlock) for block in blocks] == [False, True, True]


def test_the_defaults_are_the_papers_best() -> None:
    args = {"img_size": 32}
    for variant, count in (("KV", 1), ("pKV", 8)):
        temporal = {"kind": "msca", "variant": variant}
        shift = small_model(temporal=temporal, **args).encoder.vit.blocks[0].shift
        assert (shift.backward, shift.forward, shift.layout) == (count, count, "paper")


def test_a_backbone_without_a_class_token_will_do() -> None:
    model = small_model("vit_base_patch16_siglip_gap_224", temporal={"kind": "msca"})
    assert model(images(2, 3, 3, 16, 16), "a").shape == (2, 5)


@pytest.mark.parametrize(
    ("backbone", "args", "temporal", "message"),
    [
        ("vit_small_patch16_18x2_224", {}, {}, "ParallelThingsBlock"),
        ("vit_tiny_patch16_224", {"attn_layer": "diff", "num_heads": 2}, {}, "DiffAttention"),
        ("vit_tiny_patch16_224", {"patch_drop_rate": 0.5}, {}, "their place"),
        ("vit_tiny_patch16_224", {}, {"variant": "VK"}, "variant"),
        ("vit_tiny_patch16_224", {}, {"variant": "p"}, "variant"),
        ("vit_tiny_patch16_224", {}, {"backward": 2, "forward": 2}, "4 heads, .* has 3"),
        ("vit_tiny_patch16_224", {}, {"variant": "pV"}, "16 tokens, .* has 5"),
        ("vit_tiny_patch16_224", {}, {"backward": -1}, "negative"),
        ("vit_tiny_patch16_224", {}, {"layout": "mine"}, "layout"),
        ("vit_tiny_patch16_224", {}, {"boundary": "wrap"}, "boundary"),
        ("vit_tiny_patch16_224", {}, {"blocks": "first:1"}, "blocks"),
        ("vit_tiny_patch16_224", {}, {"blocks": "last:3"}, "of the 2"),
    ],
)
def test_what_it_cannot_work_on_is_refused(
    backbone: str, args: dict[str, Any], temporal: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        small_model(backbone, temporal={"kind": "msca"} | temporal, **args)


def test_the_encoder_is_a_plain_one() -> None:
    vit = small_model().encoder.vit
    names = list(vit.state_dict())
    assert list(msca(vit).vit.state_dict()) == names
