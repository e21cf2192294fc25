"""Temporal units: what they are made of, that they know the order, on which tokens they work."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from small_models import images, randomise
from torch import Tensor

from ivvit_cli.errors import UsageError
from ivvit_cli.models.adapters.units import (
    UNITS,
    Lstm,
    Tcn,
    TemporalUnit,
    Transformer,
    sinusoids,
)

WIDTH = 8
OPTIONS: dict[str, dict[str, Any]] = {
    "lstm": {"hidden": 6, "layers": 2},
    "tcn": {"layers": 2, "kernel": 3},
    "transformer": {"heads": 2, "hidden": 5, "layers": 2},
    "mean": {},
}


def unit_of(kind: str, tokens: str = "mean") -> TemporalUnit:
    return randomise(TemporalUnit(WIDTH, kind, tokens, **OPTIONS[kind])).double().eval()


@pytest.mark.parametrize("kind", UNITS)
def test_only_the_mean_is_blind_to_order(kind: str) -> None:
    unit, x = unit_of(kind), images(2 * 4, 3, WIDTH).double()
    reverse = x.unflatten(0, (2, 4)).flip(1).flatten(0, 1)
    change = (unit(x, 4) - unit(reverse, 4)).abs().max()
    assert (change < 1e-12) == (kind == "mean")


@pytest.mark.parametrize("kind", UNITS)
def test_the_mean_of_the_tokens_or_every_token_for_itself(kind: str) -> None:
    x = images(2 * 4, 3, WIDTH).double()
    pooled, each = unit_of(kind), unit_of(kind, "all")
    clips = x.unflatten(0, (2, 4))  # (B, T, N, R)
    torch.testing.assert_close(pooled(x, 4), pooled.unit(clips.mean(2)))
    apart = torch.stack([each.unit(clips[:, :, n]) for n in range(3)])
    torch.testing.assert_close(each(x, 4), apart.mean(0))
    assert pooled(x, 4).shape == each(x, 4).shape == (2, pooled.out)


@pytest.mark.parametrize("kind", UNITS)
def test_an_image_is_a_sequence_of_one(kind: str) -> None:
    x = images(3, 5, WIDTH).double()
    assert torch.equal(unit_of(kind)(x, None), unit_of(kind)(x, 1))


def test_the_lstm_step_by_step() -> None:
    unit, x = randomise(Lstm(WIDTH, hidden=6)).double(), images(2, 4, WIDTH).double()
    state = dict(unit.lstm.named_parameters())
    h = c = torch.zeros(2, 6, dtype=torch.float64)
    for t in range(4):
        gates = x[:, t] @ state["weight_ih_l0"].T + state["bias_ih_l0"]
        gates = gates + h @ state["weight_hh_l0"].T + state["bias_hh_l0"]
        i, f, g, o = gates.chunk(4, dim=1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
    torch.testing.assert_close(unit(x), h)


def test_the_tcn_sees_as_far_as_its_dilations_and_never_ahead() -> None:
    """Two blocks of two convolutions of 3 frames, dilated by 1 and 2: 1 + 2*2 + 2*4 frames."""
    unit = randomise(Tcn(WIDTH, layers=2, kernel=3)).double().eval()
    x = images(1, 20, WIDTH).double().requires_grad_()
    unit.blocks(x.mT)[0, :, 15].sum().backward()
    assert x.grad is not None
    seen = x.grad[0].abs().sum(-1).nonzero().flatten()
    assert seen.tolist() == list(range(15 - 12, 16))


def test_the_tcn_as_its_equations() -> None:
    unit, x = randomise(Tcn(WIDTH)).double().eval(), images(2, 5, WIDTH).double()
    out = x
    for conv in (unit.blocks[0].conv1, unit.blocks[0].conv2):
        before = F.pad(out, (0, 0, 1, 0))
        out = sum(before[:, t : t + 5] @ conv.weight[:, :, t].T for t in range(2)) + conv.bias
        out = out.clamp(min=0)
    torch.testing.assert_close(unit(x), (x + out).clamp(min=0).mean(1))


def test_the_transformer_as_torchs() -> None:
    """Its layer is torch's own of the same kind, after places are added."""
    unit, x = randomise(Transformer(WIDTH, heads=2, hidden=5)).double().eval(), images(2, 5, WIDTH)
    layer, own = torch.nn.TransformerEncoderLayer(WIDTH, 2, 5, batch_first=True), unit.layers[0]
    names = {"query": 0, "key": 1, "value": 2}
    state = {
        f"self_attn.in_proj_{kind}": torch.cat([getattr(getattr(own, n), kind) for n in names])
        for kind in ("weight", "bias")
    }
    for ours, theirs in [("proj", "self_attn.out_proj"), ("fc1", "linear1"), ("fc2", "linear2")]:
        state |= {f"{theirs}.{k}": v for k, v in getattr(own, ours).state_dict().items()}
    for name in ("norm1", "norm2"):
        state |= {f"{name}.{k}": v for k, v in getattr(own, name).state_dict().items()}
    layer.load_state_dict(state)
    placed = x.double() + sinusoids(5, WIDTH).double()
    wanted = unit.proj(unit.norm(layer.double().eval()(placed)).mean(1))
    torch.testing.assert_close(unit(x.double()), wanted, rtol=1e-6, atol=1e-6)


def test_sinusoids_as_printed() -> None:
    table = sinusoids(7, 6)
    for place in range(7):
        for i in range(3):
            angle = place / 10_000 ** (2 * i / 6)
            assert table[place, 2 * i].item() == pytest.approx(math.sin(angle), abs=1e-6)
            assert table[place, 2 * i + 1].item() == pytest.approx(math.cos(angle), abs=1e-6)


@pytest.mark.parametrize("kind", UNITS)
def test_gradients_reach_every_frame(kind: str) -> None:
    unit, x = unit_of(kind, "all"), images(4, 3, WIDTH).double().requires_grad_()
    grad: Tensor = torch.autograd.grad(unit(x, 4).square().sum(), x)[0]
    assert (grad.abs().amax((1, 2)) > 1e-8).all()


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("lstn", {}, "unknown kind lstn"),
        ("lstm", {"heads": 2}, "unit lstm: .*heads"),
        ("transformer", {"heads": 3}, "heads must divide the width 8, not 3"),
        ("mean", {"tokens": "some"}, "tokens is mean or all"),
    ],
)
def test_options_that_make_no_sense(kind: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        TemporalUnit(WIDTH, kind, **options)
