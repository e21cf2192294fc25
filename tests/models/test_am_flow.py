"""AM Flow against its equations, entry by entry, and what must hold of it."""

from collections.abc import Callable
from typing import Any

import naive_am_flow
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import images, randomise, small_model
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from ivvit_cli.errors import UsageError
from ivvit_cli.models.temporal.align import AligningEncoder, linear_attention
from ivvit_cli.models.temporal.am_flow import (
    AmFlow,
    FlowOptions,
    change_of_maps,
    make_flow,
    received_attention,
)

HEADS, WIDTH = 3, 12
SCALE = (WIDTH // HEADS) ** -0.5


def flow_of(kind: str = "vanilla", channels: str = "head", prefix: int = 0, **more: Any) -> AmFlow:
    align = AligningEncoder(WIDTH, 2, hidden=8) if kind == "aligned" else None
    options = FlowOptions(kind, channels, **more)  # type: ignore[arg-type]
    flow = AmFlow(options, width=WIDTH, heads=HEADS, prefix=prefix, align=align)
    return randomise(flow).double().eval()


def queries_and_keys(clips: int = 2, frames: int = 3, tokens: int = 4) -> tuple[Tensor, Tensor]:
    shape = (clips * frames, HEADS, tokens, WIDTH // HEADS)
    q, k = (1.5 * images(*shape, seed=seed).double() for seed in (1, 2))
    return q.requires_grad_(), k.requires_grad_()


def naive(flow: AmFlow, q: Tensor, k: Tensor, frames: int) -> Tensor:
    """The flow of clips (B, T - 1, N, C) as the equations have it."""
    options = flow.options
    clips = zip(q.unflatten(0, (-1, frames)), k.unflatten(0, (-1, frames)), strict=True)
    if flow.align is None:
        mean = options.channels == "mean"
        each = [naive_am_flow.vanilla(*clip, along=options.softmax, mean=mean) for clip in clips]
        spread = WIDTH // HEADS if options.channels == "width" else 1
        return torch.stack(each).repeat_interleave(spread, dim=-1)
    state = dict(flow.align.named_parameters())
    return torch.stack([naive_am_flow.aligned(*clip, state, 2) for clip in clips])


CASES = [
    {"kind": "vanilla"},
    {"kind": "vanilla", "softmax": "queries"},
    {"kind": "vanilla", "channels": "mean"},
    {"kind": "vanilla", "channels": "mean", "softmax": "queries"},
    {"kind": "vanilla", "channels": "width"},
    {"kind": "aligned", "channels": "width"},
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_flow_and_its_gradients_as_the_equations(case: dict[str, Any]) -> None:
    flow, (q, k) = flow_of(**case), queries_and_keys()
    ours = flow(q, k, 3, SCALE).unflatten(0, (2, 3))
    wanted = naive(flow, q, k, 3)
    assert (ours[:, :-1] - wanted).abs().max() <= 1e-10
    assert torch.equal(ours[:, -1], ours[:, -2])
    weights = images(*wanted.shape, seed=5).double()
    inputs = {"q": q, "k": k, **dict(flow.named_parameters())}
    gradients = [
        torch.autograd.grad((x * weights).sum(), list(inputs.values()))
        for x in (ours[:, :-1], wanted)
    ]
    for name, own, other in zip(inputs, *gradients, strict=True):
        assert (own - other).abs().max() <= 1e-10
        # a last bias is the same in both frames
        assert other.abs().max() > 1e-4 or name == "align.norm.bias"


def test_aligned_flow_has_fewer_channels_as_the_mean_over_them() -> None:
    q, k = queries_and_keys()
    wide = flow_of("aligned", "width")(q, k, 3, SCALE)
    each = flow_of("aligned", "head")(q, k, 3, SCALE)
    torch.testing.assert_close(each, wide.unflatten(-1, (HEADS, -1)).mean(-1))
    torch.testing.assert_close(
        flow_of("aligned", "mean")(q, k, 3, SCALE), wide.mean(-1, keepdim=True)
    )


@pytest.mark.parametrize(("kind", "still"), [("vanilla", 1.0), ("aligned", 0.0)])
def test_patches_alone(kind: str, still: float) -> None:
    channels = "head" if kind == "vanilla" else "width"
    q, k = queries_and_keys(tokens=6)
    ours = flow_of(kind, channels, prefix=2, tokens="patches")(q, k, 3, SCALE)
    assert (ours[:, :2] == still).all()
    alone = flow_of(kind, channels)(q[:, :, 2:], k[:, :, 2:], 3, SCALE)
    assert torch.equal(ours[:, 2:], alone)
    assert (flow_of(kind, channels, prefix=2)(q, k, 3, SCALE)[:, :2] != still).all()


@pytest.mark.parametrize(("kind", "still"), [("vanilla", 1.0), ("aligned", 0.0)])
def test_the_last_frame_and_images(kind: str, still: float) -> None:
    q, k = queries_and_keys()
    flow = flow_of(kind, "width", last="still")(q, k, 3, SCALE).unflatten(0, (2, 3))
    assert (flow[:, -1] == still).all()
    assert (flow[:, :-1] != still).any()
    alone = flow_of(kind, "width")(q, k, None, SCALE)
    assert alone.shape == (6, 4, WIDTH)
    assert (alone == still).all()


def test_detached_flow_has_no_gradient() -> None:
    q, k = queries_and_keys()
    assert flow_of()(q, k, 3, SCALE).requires_grad
    assert not flow_of(detach=True)(q, k, 3, SCALE).requires_grad


@settings(derandomize=True, deadline=None, max_examples=20)
@given(st.integers(1, 3), st.integers(2, 5), st.integers(1, 40), st.floats(0.01, 30))
def test_invariants_of_vanilla_flow(clips: int, frames: int, tokens: int, size: float) -> None:
    """Its sum over the tokens is N; reversed frames have the same; no motion is 1."""
    q, k = (size * x.detach().float() for x in queries_and_keys(clips, frames, tokens))
    flow = change_of_maps(q, k, frames, SCALE)
    torch.testing.assert_close(
        flow.sum(-1), torch.full_like(flow[..., 0], tokens), rtol=1e-5, atol=0
    )
    of_q, of_k = (x.unflatten(0, (-1, frames)) for x in (q, k))
    reverse = [x.flip(1).flatten(0, 1) for x in (of_q, of_k)]
    assert torch.equal(change_of_maps(*reverse, frames, SCALE).flip(1), flow)
    still = [x[:, :1].expand(-1, frames, -1, -1, -1).flatten(0, 1) for x in (of_q, of_k)]
    assert (change_of_maps(*still, frames, SCALE) - 1).abs().max() <= 1e-6


@settings(derandomize=True, deadline=None, max_examples=20)
@given(st.integers(1, 3), st.integers(2, 5), st.integers(1, 40), st.floats(0.01, 30))
def test_invariants_of_aligned_flow(clips: int, frames: int, tokens: int, size: float) -> None:
    q, k = (size * x.detach().float() for x in queries_and_keys(clips, frames, tokens))
    flow = flow_of("aligned", "width").float()
    of_q, of_k = (x.unflatten(0, (-1, frames)) for x in (q, k))
    still = [x[:, :1].expand(-1, frames, -1, -1, -1).flatten(0, 1) for x in (of_q, of_k)]
    assert flow(*still, frames, SCALE).abs().max() == 0
    pair = [x[:, :2].flatten(0, 1) for x in (of_q, of_k)]
    back = [x[:, :2].flip(1).flatten(0, 1) for x in (of_q, of_k)]
    torch.testing.assert_close(flow(*pair, 2, SCALE), flow(*back, 2, SCALE), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("kind", "still"), [("vanilla", 1.0), ("aligned", 0.0)])
@pytest.mark.parametrize(("size", "width", "heads"), [(32, 64, 4), (40, 42, 3), (24, 30, 2)])
def test_no_motion_in_a_whole_model(
    kind: str, still: float, size: int, width: int, heads: int
) -> None:
    """A static clip through a backbone in float32: 1 within 1e-6, or exactly 0.

    At odd sizes, matrix products round the rows at the end of a block otherwise: 1 within 3e-6.
    """
    temporal = {"kind": "am_flow", "flow": {"kind": kind}}
    sizes = {"img_size": size, "embed_dim": width, "num_heads": heads, "class_token": False}
    model = small_model(temporal=temporal, global_pool="avg", **sizes)
    seen: list[Tensor] = []
    for block in model.encoder.adapters["shared"].blocks:
        block.flow.register_forward_hook(lambda module, given, out: seen.append(out))
    model(images(2, 1, 3, size, size).expand(-1, 4, -1, -1, -1), "a")
    assert len(seen) == 2
    error = max((flow - still).abs().max().item() for flow in seen)
    assert error <= ({32: 1e-6}.get(size, 3e-6) if kind == "vanilla" else 0)
    seen.clear()
    model(images(2, 4, 3, size, size), "a")
    assert all((flow - still).abs().max() > 1e-2 for flow in seen)


FUNCTIONS: list[Callable[..., Tensor]] = [change_of_maps, received_attention]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_nothing_of_the_maps_is_kept(function: Callable[..., Tensor]) -> None:
    """What the backward pass keeps is linear in T, and q and k alone: no N x N."""
    kept = {frames: _saved_by(function, frames) for frames in (2, 4, 8)}
    assert [4 * kept[2], 2 * kept[4]] == [kept[8], kept[8]]
    assert kept[2] == 2 * 2 * HEADS * 32 * (WIDTH // HEADS)  # q and k of 2 frames


def _saved_by(function: Callable[..., Tensor], frames: int) -> int:
    """The number of distinct scalars that a backward pass through the function keeps."""
    storages: dict[int, int] = {}

    def keep(x: Tensor) -> Tensor:
        storages[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes() // x.itemsize
        return x

    q, k = queries_and_keys(1, frames, 32)
    with saved_tensors_hooks(keep, lambda x: x):
        out = function(q, k, frames, SCALE)
    assert out.requires_grad
    return sum(storages.values())


@pytest.mark.parametrize("kind", ["vanilla", "aligned"])
def test_maps_are_summed_in_float32_under_bf16(kind: str) -> None:
    q, k = (x.detach().bfloat16() for x in queries_and_keys(tokens=16))
    flow = flow_of(kind, "width").float()
    with torch.autocast("cpu", torch.bfloat16):
        rough = flow(q, k, 3, SCALE)
        maps = change_of_maps(q, k, 3, SCALE), received_attention(q, k, 3, SCALE)
    assert rough.dtype == torch.float32
    exact = (
        change_of_maps(q.double(), k.double(), 3, SCALE),
        received_attention(q.double(), k.double(), 3, SCALE),
    )
    for own, other in zip(maps, exact, strict=True):
        assert own.dtype == torch.float32
        torch.testing.assert_close(own.double(), other, rtol=1e-5, atol=1e-5)


def test_linear_attention_of_one_token_is_its_value() -> None:
    q, k, v = (images(2, 3, 1, 4, seed=seed).double() for seed in (1, 2, 3))
    torch.testing.assert_close(linear_attention(q, k, v), v, rtol=1e-5, atol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "optical"}, "flow: kind is vanilla or aligned"),
        ({"kind": "vanilla", "channels": "colour"}, "flow: channels is head or mean or width"),
        ({"kind": "vanilla", "tokens": "some"}, "flow: tokens is all or patches"),
        ({"kind": "vanilla", "axis": "keys"}, "flow vanilla: .*axis"),
        ({"kind": "aligned", "heads": 5}, "flow: heads must divide the width 24, not 5"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make_flow(small_model().encoder.vit, 0, **options)
