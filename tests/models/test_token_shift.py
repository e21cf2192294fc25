"""TokenShift against the authors' outputs and a naive implementation, and what must hold of it."""

import json
from itertools import product
from pathlib import Path
from typing import Any

import naive_vit
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import SMALL, images, small_model

from ivvit_cli.errors import UsageError
from ivvit_cli.models import JointModel, build_model, load_weights
from ivvit_cli.models.temporal.token_shift import ClassTokenShift, shift_class_tokens


@pytest.fixture(scope="module")
def authors(oracle: Path) -> tuple[JointModel, dict[str, torch.Tensor]]:
    """The released code's weights in our model, and its inputs and outputs."""
    folder = oracle / "tokshift"
    config = json.loads((folder / "config.json").read_text())
    args = {
        "img_size": config["img"],
        "patch_size": config["patch"],
        "embed_dim": config["D"],
        "depth": config["layers"],
        "num_heads": config["heads"],
        "mlp_ratio": config["mlp"] / config["D"],
    }
    temporal = {"kind": "token_shift", "fold_div": config["fold_div"]}
    model = build_model(
        {"backbone": "vit_base_patch16_224", "backbone_args": args, "temporal": temporal},
        {"k400": config["classes"]},
    )
    load_weights(model, str(folder / "state_dict.safetensors"), head="k400")
    with np.load(folder / "io.npz") as arrays:
        outputs = {name: torch.from_numpy(arrays[name]).double() for name in arrays}
    return model.double().eval(), outputs


def test_the_authors_logits(authors: tuple[JointModel, dict[str, torch.Tensor]]) -> None:
    model, expected = authors
    logits = model(expected["input_btchw"], "k400")
    torch.testing.assert_close(logits, expected["logits"], rtol=0, atol=1e-9)


def test_the_authors_tokens(authors: tuple[JointModel, dict[str, torch.Tensor]]) -> None:
    model, expected = authors
    x, frames = expected["input_btchw"], expected["input_btchw"].shape[1]
    close = {"rtol": 0, "atol": 1e-9}
    shifted = shift_class_tokens(expected["shift_in"].clone(), frames, model.encoder.shift)
    torch.testing.assert_close(shifted, expected["shift_out"], **close)
    tokens = model.encoder.embed(x)
    torch.testing.assert_close(tokens, expected["embed"], **close)
    outputs = []
    for block in model.encoder.vit.blocks:
        tokens = model.encoder.run_block(block, tokens, frames)
        outputs.append(tokens.clone())  # the next block writes into it
    torch.testing.assert_close(outputs[0], expected["block0_out"], **close)
    torch.testing.assert_close(outputs[-1], expected["block_last_out"], **close)


@pytest.mark.parametrize(
    ("layout", "frames", "fold_div"),
    [*product(("official", "paper"), (2, 5), (2, 4)), ("official", 3, 8), ("paper", 8, 3)],
)
def test_a_clip_as_the_naive_implementation(layout: str, frames: int, fold_div: int) -> None:
    temporal = {"kind": "token_shift", "fold_div": fold_div, "layout": layout}
    model = small_model(temporal=temporal, seed=frames).double()
    clips = images(2, frames, 3, 16, 16, seed=fold_div).double()
    state = {name: value.numpy() for name, value in model.encoder.vit.state_dict().items()}
    naive = [
        naive_vit.clip_feature(state, clip, heads=3, fold_div=fold_div, layout=layout)
        for clip in clips.numpy()
    ]
    ours = model.encoder(clips, "a")[0].detach().numpy()
    np.testing.assert_allclose(ours, np.stack(naive), rtol=0, atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(
    clips=st.integers(1, 3),
    frames=st.integers(1, 6),
    tokens=st.integers(1, 4),
    width=st.integers(1, 13),
    fold_div=st.integers(2, 14),
    layout=st.sampled_from(["official", "paper"]),
)
def test_the_shift_as_the_naive_implementation(
    clips: int, frames: int, tokens: int, width: int, fold_div: int, layout: Any
) -> None:
    x = images(clips, frames, tokens, width)
    kept, shift = x.clone(), ClassTokenShift(width // fold_div, layout)
    called = shift(x.flatten(0, 1), frames)
    assert torch.equal(x, kept)
    written = shift_class_tokens(x.flatten(0, 1).clone(), frames, shift)
    expected = np.stack([naive_vit.shift(clip, fold_div, layout) for clip in x.numpy()])
    for shifted in (called, written):
        np.testing.assert_array_equal(shifted.view_as(x).numpy(), expected)


def test_a_compiler_sees_one_graph() -> None:
    """The tracer alone, since code generation takes long; a break in the graph is an error."""
    model = small_model(heads={"a.b": 5}, temporal={"kind": "token_shift"})
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True, dynamic=False)
    clips = images(2, 4, 3, 16, 16)
    results = []
    for run in (model, compiled):
        model.zero_grad(set_to_none=True)
        logits = run(clips, "a.b")
        logits.sum().backward()
        results.append([logits, *(p.grad for p in model.parameters())])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_a_shift_of_no_channel_is_the_plain_vit() -> None:
    shifted = small_model(temporal={"kind": "token_shift", "fold_div": SMALL["embed_dim"] + 1})
    plain = small_model()
    clips = images(2, 4, 3, 16, 16)
    assert torch.equal(shifted(clips, "a"), plain(clips, "a"))


@pytest.mark.parametrize("backbone", ["vit_tiny_patch16_224", "vit_base_patch16_clip_224"])
def test_images_bypass_the_shift(backbone: str) -> None:
    shifted, plain = (small_model(backbone, temporal={"kind": kind}) for kind in KINDS)
    x = images(3, 3, 16, 16)
    assert torch.equal(shifted(x, "a"), plain(x, "a"))
    assert torch.equal(shifted(x[:, None], "a"), plain(x, "a"))


KINDS = ("token_shift", "none")


def test_mirrored_time_is_the_mirrored_layout() -> None:
    official, paper = (
        small_model(temporal={"kind": "token_shift", "layout": layout}).double()
        for layout in ("official", "paper")
    )
    clips = images(2, 4, 3, 16, 16).double()
    torch.testing.assert_close(
        official(clips, "a"), paper(clips.flip(1), "a"), rtol=1e-12, atol=1e-12
    )


def test_only_the_shift_sees_the_order_of_frames() -> None:
    clips = images(2, 4, 3, 16, 16).double()
    moved = {}
    for kind in KINDS:
        model = small_model(temporal={"kind": kind}).double()
        moved[kind] = (model(clips, "a") - model(clips.flip(1), "a")).abs().max().item()
    assert moved["none"] < 1e-12
    assert moved["token_shift"] > 1e-3


def test_clips_of_a_batch_do_not_meet() -> None:
    model = small_model(temporal={"kind": "token_shift"}).double()
    clips = images(3, 4, 3, 16, 16).double()
    alone = torch.cat([model(clip[None], "a") for clip in clips])
    torch.testing.assert_close(model(clips, "a"), alone, rtol=1e-12, atol=1e-12)


def test_the_same_model_takes_any_number_of_frames() -> None:
    model = small_model(temporal={"kind": "token_shift"})
    for frames in (1, 2, 3, 7, 16):
        assert model(images(2, frames, 3, 16, 16), "a").shape == (2, 5)


@pytest.mark.parametrize(
    ("backbone", "args", "temporal", "message"),
    [
        ("vit_base_patch16_siglip_224", {}, {}, "class token"),
        ("vit_small_patch16_18x2_224", {}, {}, "ParallelThingsBlock"),
        ("vit_base_patch16_xp_224", {}, {}, "ParallelScalingBlock"),
        ("vit_tiny_patch16_224", {}, {"fold_div": 1}, "fold_div"),
        ("vit_tiny_patch16_224", {}, {"layout": "mine"}, "layout"),
        ("vit_tiny_patch16_224", {}, {"fold": 3}, "fold"),
    ],
)
def test_what_it_cannot_work_on_is_refused(
    backbone: str, args: dict[str, Any], temporal: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        small_model(backbone, temporal={"kind": "token_shift"} | temporal, **args)


def test_an_unknown_kind_gets_a_suggestion() -> None:
    with pytest.raises(UsageError, match="tokenshift") as caught:
        small_model(temporal={"kind": "tokenshift"})
    assert "token_shift" in str(caught.value.hint)
