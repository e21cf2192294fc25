"""The maps against naive loops in float64, and what must hold of any map."""

import math

import numpy as np
import pytest
import torch

from ivvit_cli.errors import UsageError
from ivvit_cli.explaining.maps import attention, principal_colours, rollout, stretch, to_grid
from ivvit_cli.explaining.record import Seen, recorded
from ivvit_cli.explaining.runner import explain
from ivvit_cli.models import build_model

ARGS = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 3, "num_heads": 2}
KINDS = {
    "none": {"kind": "none"},
    "token_shift": {"kind": "token_shift"},
    "msca": {"kind": "msca"},
    "divided": {"kind": "divided", "frames": 4},
    "space_only": {"kind": "space_only"},
    "am_flow": {"kind": "am_flow", "flow": {"kind": "aligned"}, "unit": {"kind": "mean"}},
    "adaptformer": {"kind": "adaptformer", "width": 4},
}
WHOLE = {"joint": {"kind": "joint", "frames": 4}, "tubelet": {"kind": "tubelet", "frames": 4}}


def make(kind, **args):
    torch.manual_seed(0)
    section = {"backbone": "vit_tiny_patch16_224", "backbone_args": ARGS | args, "temporal": kind}
    return build_model(section, {"d": 2}).eval()


def clip(frames=4):
    return torch.randn(1, frames, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def naive_weights(seen):
    """Softmax of scaled products, one query at a time: (F, heads, N, N)."""
    q, k = seen.q.double().numpy(), seen.k.double().numpy()
    out = np.zeros((*q.shape[:3], q.shape[2]))
    for f, h, n in np.ndindex(*q.shape[:3]):
        scores = np.array([math.exp(seen.scale * float(q[f, h, n] @ key)) for key in k[f, h]])
        out[f, h, n] = scores / scores.sum()
    return out


@pytest.fixture(scope="module")
def seen():
    generator = torch.Generator().manual_seed(3)
    draw = [[torch.randn(2, 3, 7, 5, generator=generator) for _ in "qk"] for _ in range(3)]
    return [Seen(q, k, 0.4) for q, k in draw]


@pytest.mark.parametrize("token", [True, False])
def test_attention_is_that_of_naive_loops(seen, token):
    weights = naive_weights(seen[0])
    expected = weights[:, :, 0].mean(1) if token else weights.mean((1, 2))
    found = attention(seen[0], class_token=token)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert torch.allclose(found.sum(1), torch.ones(2))


@pytest.mark.parametrize("token", [True, False])
def test_rollout_is_that_of_naive_loops(seen, token):
    total = np.stack([np.eye(7)] * 2)
    for block, found in zip(seen, rollout(seen, class_token=token), strict=True):
        weights = naive_weights(block).mean(1)
        for f in range(2):
            step = (weights[f] + np.eye(7)) / 2
            total[f] = (step / step.sum(1, keepdims=True)) @ total[f]
        expected = total[:, 0] if token else total.mean(1)
        np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_what_is_recorded_is_what_the_blocks_attend_with(kind):
    """The output, computed again from what was recorded, is the block's own."""
    model = make(kind)
    layer = model.encoder.vit.blocks[1].attn
    given, plain = [], layer.attend
    with torch.no_grad(), recorded(model.encoder) as seen:
        inner = layer.attend

        def keep(q, k, v):
            given.append((q, k, v, plain(q, k, v)))
            return inner(q, k, v)

        object.__setattr__(layer, "attend", keep)
        model(clip(), "d")
    assert set(seen) == {1, 2, 3}
    assert seen[2].q.shape == (4, 2, 17, 16)
    *_, v, out = given[0]
    again = (seen[2].q @ seen[2].k.mT * seen[2].scale).softmax(-1) @ v
    torch.testing.assert_close(again, out, rtol=1e-4, atol=1e-5)
    assert "attend" not in vars(model.encoder.vit.blocks[0].attn)


@pytest.mark.parametrize("kind", [*KINDS.values(), *WHOLE.values()], ids=[*KINDS, *WHOLE])
def test_recording_changes_nothing(kind):
    model, x = make(kind), clip()
    with torch.no_grad():
        before = model(x, "d")
        explain(model, x, "d", kind="attention")
        assert torch.equal(model(x, "d"), before)


@pytest.mark.parametrize("kind", [*KINDS.values(), *WHOLE.values()], ids=[*KINDS, *WHOLE])
@pytest.mark.parametrize("map_", ["attention", "rollout"])
def test_every_kind_has_maps(kind, map_):
    maps = explain(make(kind), clip(), "d", kind=map_, blocks=[1, 3])
    moments = 2 if kind["kind"] == "tubelet" else 4
    assert list(maps) == [1, 3]
    for each in maps.values():
        assert each.values.shape == (moments, 4, 4)
        assert each.colours.shape == (moments, 4, 4, 3)
        assert 0 < each.values.min() <= each.values.max() < 1


@pytest.mark.parametrize(("name", "still"), [("none", 1), ("am_flow", 0)])
def test_a_clip_that_stands_has_the_flow_of_no_motion(name, still):
    x = clip(1).expand(1, 4, 3, 32, 32)
    for each in explain(make(KINDS[name]), x, "d", kind="am-flow").values():
        np.testing.assert_allclose(each.values, still, atol=1e-5)
        if name == "none":
            assert not each.colours.any()


def test_the_flow_is_the_model_s_own_where_it_was_trained():
    model = make(KINDS["am_flow"])
    own = explain(model, clip(), "d", kind="am-flow")[1].values
    plain = explain(model, clip(), "d", kind="am-flow", learned=False)[1].values
    assert (own.shape, plain.shape) == ((4, 4, 4, 32), (4, 4, 4, 2))
    np.testing.assert_allclose(plain[0], plain[0].clip(0))


def test_a_patch_that_changes_has_the_largest_flow():
    x = clip(1).repeat(1, 2, 1, 1, 1)
    x[0, 1, :, 8:16, 16:24] += 3
    values = explain(make({"kind": "none"}), x, "d", kind="am-flow", blocks=[1])[1].values
    change = np.abs(values[0] - 1).sum(-1)
    assert np.unravel_index(change.argmax(), change.shape) == (1, 2)


def test_without_a_class_token_all_queries_count():
    model = make({"kind": "none"}, class_token=False, global_pool="avg")
    values = explain(model, clip(), "d", kind="attention")[1].values
    np.testing.assert_allclose(values.sum((1, 2)), 1, rtol=1e-5)


@pytest.mark.parametrize("temporal", ["none", "am_flow"])
def test_a_hiera_has_maps_where_its_attention_is_global(temporal):
    model = make_hiera(KINDS[temporal])
    x = torch.randn(1, 1, 3, 64, 64).repeat(1, 2, 1, 1, 1)
    x[0, 1, :, 16:32, 32:48] += 3  # the token in row 1 and column 2 of 4
    attended = explain(model, x, "d", kind="attention")
    assert {n: each.values.shape for n, each in attended.items()} == {3: (2, 8, 8), 5: (2, 4, 4)}
    values = explain(model, x, "d", kind="am-flow", learned=False, blocks=[5])[5].values
    change = np.abs(values[0] - 1).sum(-1)
    assert np.unravel_index(change.argmax(), change.shape) == (1, 2)
    with pytest.raises(UsageError, match="rollout: is not defined where tokens are pooled"):
        explain(model, x, "d", kind="rollout")
    with pytest.raises(UsageError, match="block 1: there are maps of blocks"):
        explain(model, x, "d", kind="attention", blocks=[1])


def make_hiera(kind):
    """A Hiera of 1, 2 and 2 blocks, whose attention is global from its third block on."""
    torch.manual_seed(0)
    args = {"img_size": 64, "embed_dim": 8, "stages": (1, 2, 2), "q_pool": 2,
            "mask_unit_attn": (True, False, False), "mask_unit_size": (4, 4)}  # fmt: skip
    section = {"backbone": "hiera_tiny_224", "backbone_args": args, "temporal": kind}
    return build_model(section, {"d": 2}).eval()


def test_what_cannot_be_shown_is_refused():
    with pytest.raises(UsageError, match="an image has none"):
        explain(make(KINDS["none"]), clip()[:, 0], "d", kind="am-flow")
    with pytest.raises(UsageError, match="attention within each frame"):
        explain(make(WHOLE["joint"]), clip(), "d", kind="am-flow")
    with pytest.raises(UsageError, match="block 4: there are maps of blocks 1, 2, 3"):
        explain(make(KINDS["none"]), clip(), "d", kind="attention", blocks=[4])


def test_a_grid_has_the_patches_in_their_places():
    tokens = torch.arange(2 * 14).view(2, 14)
    grid = to_grid(tokens, 2, (3, 4))
    assert grid.shape == (2, 3, 4)
    assert grid[1, 2, 1] == 14 + 2 + 2 * 4 + 1
    assert to_grid(tokens.view(1, 28)[:, :25], 1, (3, 4)).shape == (2, 3, 4)


def test_principal_colours_are_those_of_a_covariance():
    values = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0)) * torch.tensor(
        [3.0, 2.0, 1.0, 0.5, 0.1]
    )
    rows = values.reshape(-1, 5).double().numpy()
    _, vectors = np.linalg.eigh(np.cov(rows.T))
    colours = principal_colours(values).reshape(-1, 3).numpy()
    for number in range(3):
        shown = rows @ vectors[:, -1 - number]
        correlation = np.corrcoef(shown, colours[:, number])[0, 1]
        assert abs(correlation) == pytest.approx(1, abs=1e-6)
    assert (colours.min(0).tolist(), colours.max(0).tolist()) == ([0] * 3, [1] * 3)
    two = principal_colours(values[..., :2])
    assert not two[..., 2].any()


def test_equal_values_are_not_stretched_to_noise():
    values = torch.tensor([1.0, 1 + 1e-7, 1.0])
    assert stretch(values).tolist() == [0, 0, 0]
    assert stretch(torch.tensor([2.0, 4.0, 3.0])).tolist() == [0, 1, 0.5]
