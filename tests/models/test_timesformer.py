"""TimeSformer against the authors' outputs and a naive implementation, and what must hold of it."""

from pathlib import Path
from typing import Any

import naive_timesformer
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from small_models import SMALL, images, small_model
from torch import Tensor, nn

from ivvit_cli.errors import InputError, UsageError
from ivvit_cli.models import JointModel, build_model, load_weights
from ivvit_cli.models.temporal.timesformer import nearest_frames

KINDS: dict[str, dict[str, Any]] = {
    "divided": {"frames": 4},
    "joint": {"frames": 4},
    "space_only": {},
}
WITH_TIME = ("divided", "joint")
COVER = {"k400": 400, "ssv2": 174, "mit": 339, "in1k": 1000}


def timesformer(kind: str = "divided", frames: int = 4, **args: Any) -> JointModel:
    options = {"frames": frames} if kind in WITH_TIME else {}
    return small_model(temporal={"kind": kind} | options, **args)


@pytest.fixture(scope="module")
def released(oracle: Path, tmp_path_factory: pytest.TempPathFactory) -> JointModel:
    """The oracle's weights, in a file as the authors' trainer writes it."""
    state = load_file(oracle / "timesformer" / "state_dict.safetensors")
    path = tmp_path_factory.mktemp("timesformer") / "TimeSformer_divST.pyth"
    torch.save({"model_state": {f"model.{name}": value for name, value in state.items()}}, path)
    args = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 3, "mlp_ratio": 2}
    temporal = {"kind": "divided", "frames": 4}
    model = build_model(
        {
            "backbone": "vit_base_patch16_224",
            "backbone_args": args | {"num_heads": 4},
            "temporal": temporal,
        },
        {"k400": 7},
    )
    report = load_weights(model, str(path), head="k400")
    assert (report.format, report.share, report.unused) == ("timesformer", 1, ())
    assert (report.resized, report.derived) == ((), ())
    return model.double().eval()


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("input_bcthw", "logits"),
        ("image_as_1frame_bcthw", "image_logits"),
        ("input8_bcthw", "logits8"),
    ],
)
def test_the_authors_logits(oracle: Path, released: JointModel, given: str, wanted: str) -> None:
    with np.load(oracle / "timesformer" / "io.npz") as arrays:
        x = torch.from_numpy(arrays[given]).double().transpose(1, 2)  # (B, T, 3, H, W)
        expected = torch.from_numpy(arrays[wanted])
    torch.testing.assert_close(released(x, "k400"), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("frames", [1, 2, 4, 6, 8])
@pytest.mark.parametrize("kind", KINDS)
def test_a_clip_as_the_naive_implementation(kind: str, frames: int) -> None:
    model = timesformer(kind, seed=frames).double()
    clips = images(2, frames, 3, 16, 16).double()
    state = {name: value.numpy() for name, value in model.encoder.vit.state_dict().items()}
    naive = getattr(naive_timesformer, kind)
    args = [model.encoder.time_embed[0].detach().numpy()] if kind in WITH_TIME else []
    expected = [naive(state, *args, clip, heads=3) for clip in clips.numpy()]
    ours = model.encoder(clips, "a")[0].detach().numpy()
    np.testing.assert_allclose(ours, np.stack(expected), rtol=0, atol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_is_a_clip_of_one_frame(kind: str) -> None:
    model, x = timesformer(kind), images(3, 3, 16, 16)
    assert torch.equal(model(x, "a"), model(x[:, None], "a"))


def test_an_image_passes_through_the_temporal_layer() -> None:
    """CoVeR, Appendix A: attention over one frame is a linear layer, and it is not skipped."""
    model, x = timesformer().double(), images(2, 3, 16, 16).double()
    before = model(x, "a")
    with torch.no_grad():
        model.encoder.vit.blocks[1].temporal_fc.weight.zero_()
    assert (model(x, "a") - before).abs().max() > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_only_time_embeddings_see_the_order_of_frames(kind: str) -> None:
    model = timesformer(kind).double()
    clips = images(2, 4, 3, 16, 16).double()
    moved = (model(clips, "a") - model(clips.flip(1), "a")).abs().max()
    assert moved < 1e-12 if kind == "space_only" else moved > 1e-3
    if kind in WITH_TIME:
        nn.init.zeros_(model.encoder.time_embed)
        torch.testing.assert_close(
            model(clips, "a"), model(clips.flip(1), "a"), rtol=1e-12, atol=1e-12
        )


@pytest.mark.parametrize("kind", WITH_TIME)
def test_a_clip_read_backwards_with_mirrored_times_is_the_clip(kind: str) -> None:
    model = timesformer(kind).double()
    clips = images(2, 4, 3, 16, 16).double()
    forwards = model(clips, "a")
    with torch.no_grad():
        model.encoder.time_embed.copy_(model.encoder.time_embed.flip(1))
    torch.testing.assert_close(model(clips.flip(1), "a"), forwards, rtol=1e-12, atol=1e-12)


def test_attention_over_one_frame_is_attention() -> None:
    """The image path leaves out what a softmax over one token cannot change."""
    block, x = timesformer(qk_norm=True).double().encoder.vit.blocks[1], images(3, 5, 24).double()
    torch.testing.assert_close(block(x, 1), block(x, None), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_clips_of_a_batch_do_not_meet(kind: str) -> None:
    model = timesformer(kind).double()
    clips = images(3, 4, 3, 16, 16).double()
    alone = torch.cat([model(clip[None], "a") for clip in clips])
    torch.testing.assert_close(model(clips, "a"), alone, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "backbone",
    [
        "vit_small_patch14_reg4_dinov2",
        "vit_base_patch16_clip_quickgelu_224",
        "vit_base_patch16_siglip_gap_224",
        "deit_tiny_distilled_patch16_224",
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_a_fresh_block_leaves_frames_apart(kind: str, backbone: str) -> None:
    """With the temporal layers at 0, a still clip is its image, whatever the backbone."""
    model = small_model(backbone, temporal={"kind": kind} | KINDS[kind]).double()
    if kind == "divided":
        for block in model.encoder.vit.blocks:
            nn.init.zeros_(block.temporal_fc.weight)
            nn.init.zeros_(block.temporal_fc.bias)
    if kind in WITH_TIME:
        nn.init.zeros_(model.encoder.time_embed)
    plain = small_model(backbone).double()
    plain.encoder.vit.load_state_dict(model.encoder.vit.state_dict(), strict=False)
    plain.heads.load_state_dict(model.heads.state_dict())
    x = images(2, 3, 16, 16).double()
    still = x[:, None].expand(-1, 4, -1, -1, -1)
    close = {"rtol": 1e-10, "atol": 1e-10}
    torch.testing.assert_close(model(x, "a"), plain(x, "a"), **close)
    if kind != "joint":  # there, T equal patches weigh more against one class token
        torch.testing.assert_close(model(still, "a"), plain(x, "a"), **close)


def test_gradients_reach_every_parameter() -> None:
    model = timesformer().double()
    model(images(2, 4, 3, 16, 16).double(), "a").square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in model.parameters())
    block, x = model.encoder.vit.blocks[0], images(2, 5, 24).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda tokens: block(tokens, 2), x)


def test_a_compiler_sees_one_graph() -> None:
    model = timesformer()
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True, dynamic=False)
    clips = images(2, 6, 3, 16, 16)
    torch.testing.assert_close(compiled(clips, "a"), model(clips, "a"), rtol=1e-4, atol=1e-4)


def test_checkpointed_activations_give_the_same_gradients() -> None:
    gradients = []
    model = timesformer().train()
    for enabled in (False, True):
        model.encoder.vit.set_grad_checkpointing(enabled)
        model.zero_grad(set_to_none=True)
        model(images(2, 4, 3, 16, 16), "a").square().sum().backward()
        gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


class Rows(nn.Module):
    """Stands where drop path does, and notes how many rows it could drop."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(len(x))
        return x


def test_drop_path_drops_tubes_then_frames_then_clips() -> None:
    model = timesformer().train()
    block = model.encoder.vit.blocks[0]
    block.drop_path1, block.drop_path2 = Rows(), Rows()
    model(images(2, 3, 3, 16, 16), "a")
    assert block.drop_path1.seen == [2 * 4, 2 * 3]  # clips x patches, clips x frames
    assert block.drop_path2.seen == [2]


def test_fresh_temporal_layers() -> None:
    args = {"backbone": "vit_tiny_patch16_224", "backbone_args": SMALL}
    model = build_model(args | {"temporal": {"kind": "divided"}}, {"a": 2})
    first, second = model.encoder.vit.blocks
    assert first.temporal_fc.weight.std().item() == pytest.approx(0.02, rel=0.2)
    assert not second.temporal_fc.weight.any()
    assert not first.temporal_fc.bias.any()
    assert not torch.equal(second.temporal_attn.qkv.weight, second.attn.qkv.weight)
    assert model.encoder.time_embed.shape == (1, 8, SMALL["embed_dim"])
    assert not model.encoder.time_embed.any()


def test_a_plain_vit_starts_attention_over_time_as_attention_over_space(tmp_path: Path) -> None:
    state, path = small_model(seed=7).encoder.vit.state_dict(), tmp_path / "vit.safetensors"
    save_file(state, path)
    args = {"backbone": "vit_tiny_patch16_224", "backbone_args": SMALL}
    model = build_model(args | {"temporal": {"kind": "divided"}}, {"a": 2})
    report = load_weights(model, str(path))
    for i, block in enumerate(model.encoder.vit.blocks):
        for name in ("attn.qkv.weight", "attn.proj.bias", "norm1.weight"):
            taken = state[f"blocks.{i}.{name}"]
            assert torch.equal(block.get_parameter(name), taken)
            assert torch.equal(block.get_parameter(f"temporal_{name}"), taken)
    assert block.temporal_fc.weight.abs().max() == model.encoder.time_embed.abs().max() == 0
    assert (len(report.loaded), len(report.derived), report.missing) == (len(state), 17, ())
    assert f"{len(state)} of {len(state) + 17} encoder tensors loaded" in str(report)
    assert "derived (17): " in str(report)


def test_a_video_model_of_ours_loads_as_it_is(tmp_path: Path) -> None:
    trained, path = timesformer(seed=3), tmp_path / "model.safetensors"
    save_file(trained.state_dict(), path)
    model = timesformer(seed=4)
    report = load_weights(model, str(path), head="a")
    clips = images(2, 4, 3, 16, 16)
    assert torch.equal(model(clips, "a"), trained(clips, "a"))
    assert (report.format, report.derived, report.missing) == ("ivvit", (), ())


def test_temporal_layers_that_are_partly_there_are_not_made_up(tmp_path: Path) -> None:
    state, path = timesformer(seed=3).encoder.vit.state_dict(), tmp_path / "w.safetensors"
    save_file({k: v for k, v in state.items() if ".temporal_attn." not in k}, path)
    with pytest.raises(InputError, match=r"lacks encoder\.vit\.blocks\.0\.temporal_attn"):
        load_weights(timesformer(), str(path))


def test_nothing_is_made_of_a_vit_of_another_width(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file(small_model(embed_dim=48).encoder.vit.state_dict(), path)
    with pytest.raises(InputError, match="is 1x1x48 there and 1x1x24 in the model"):
        load_weights(timesformer(), str(path))


@pytest.mark.parametrize("frames", [2, 8, 6])
def test_embeddings_of_time_are_resampled_for_good(tmp_path: Path, frames: int) -> None:
    trained, path = timesformer(frames=4, seed=3), tmp_path / "model.safetensors"
    save_file(trained.state_dict(), path)
    model = timesformer(frames=frames)
    assert load_weights(model, str(path), head="a").resized == ("encoder.time_embed",)
    clips = images(2, frames, 3, 16, 16)
    assert torch.equal(model(clips, "a"), trained(clips, "a"))


@pytest.mark.parametrize(("count", "frames"), [(4, 8), (8, 4), (8, 1), (3, 5), (1, 4), (96, 64)])
def test_nearest_is_torchs_nearest(count: int, frames: int) -> None:
    embeddings = images(1, count, 5)
    theirs = nn.functional.interpolate(embeddings.transpose(1, 2), size=frames, mode="nearest")
    assert torch.equal(nearest_frames(embeddings, frames), theirs.transpose(1, 2))


@pytest.mark.parametrize(
    ("backbone", "args", "heads", "millions"),
    [
        ("vit_base_patch16_224", {"frames": 8}, {"k400": 400}, 121.57),
        ("vit_large_patch16_224", {"frames": 16}, COVER, 431.88),
    ],
)
def test_the_printed_numbers_of_parameters(
    backbone: str, args: dict[str, int], heads: dict[str, int], millions: float
) -> None:
    """TimeSformer-B prints 121.4 M; TimeSformer-L of CoVeR, 16 frames of 448 pixels, 431 M."""
    size = {"img_size": 448} if "large" in backbone else {}
    recipe = {"backbone": backbone, "backbone_args": size, "temporal": {"kind": "divided"} | args}
    with torch.device("meta"):
        model = build_model(recipe, heads)
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, abs=0.005)


@pytest.mark.parametrize(
    ("kind", "backbone", "args", "temporal", "message"),
    [
        ("divided", "vit_small_patch16_18x2_224", {}, {}, "ParallelThingsBlock"),
        ("joint", "vit_tiny_patch16_224", {"patch_drop_rate": 0.5}, {}, "their place"),
        ("divided", "vit_tiny_patch16_224", {}, {"frames": 0}, "at least 1"),
        ("space_only", "vit_tiny_patch16_224", {}, {"frames": 8}, "frames"),
    ],
)
def test_what_it_cannot_work_on_is_refused(
    kind: str, backbone: str, args: dict[str, Any], temporal: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        small_model(backbone, temporal={"kind": kind} | temporal, **args)
