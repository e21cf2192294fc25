"""Colour jitter against torchvision's, and where its values come from."""

import numpy as np
import pytest
import torch
from naive_shards import picture, write_shards
from torchvision.transforms import functional

from shards import open_dataset
from shards.stream.colour import NEUTRAL, draw_colours, jitter, normalise
from shards.stream.dice import Dice, mix
from shards.stream.loader import TrainStream, UpdateLoader
from shards.stream.plan import Plan

THEIRS = (
    functional.adjust_brightness,
    functional.adjust_saturation,
    functional.adjust_gamma,
    functional.adjust_hue,
)
LOW, HIGH = (0.5, 0.5, 0.8, -0.5), (2.0, 3.0, 1.2, 0.5)
# An eighth of a grey level: torchvision rounds the weights of grey.
CLOSE = {"rtol": 0, "atol": 5e-4}


def frames(*shape):
    """Noise, with some grey and some saturated pixels."""
    x = torch.rand(*shape, generator=torch.Generator().manual_seed(0))
    x[..., :2] = x[..., :1, :, :2]
    x[..., 2:4] = x[..., 2:4].round()
    return x


@pytest.mark.parametrize("which", range(4))
@pytest.mark.parametrize("share", [0, 0.2, 0.5, 0.8, 1])
def test_one_change_as_torchvision_makes_it(which, share):
    value = LOW[which] + share * (HIGH[which] - LOW[which])
    colours = torch.tensor([NEUTRAL] * 3)
    colours[1, which] = value
    x = frames(3, 2, 3, 8, 8)
    expected = x.clone()
    expected[1] = THEIRS[which](x[1], value)
    torch.testing.assert_close(jitter(x, colours), expected, **CLOSE)


def test_changes_follow_one_another():
    colours = torch.tensor([[1.3, 0.6, 1.1, 0.3], [0.7, 2.5, 0.9, -0.4]])
    x = frames(2, 3, 8, 8)
    expected = x.clone()
    for row, values in enumerate(colours.tolist()):
        for change, value in zip(THEIRS, values, strict=True):
            expected[row] = change(expected[row], value)
    torch.testing.assert_close(jitter(x, colours), expected, **CLOSE)


def test_a_tenth_of_the_samples_changes_in_each_way_and_evenly():
    colours = draw_colours(0.1, Dice(mix(np.arange(20_000, dtype=np.uint64))))
    assert colours.dtype == np.float32
    for values, neutral, low, high in zip(colours.T, NEUTRAL, LOW, HIGH, strict=True):
        drawn = values[values != np.float32(neutral)]
        assert 0.09 < len(drawn) / len(values) < 0.11
        assert low <= drawn.min() < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < drawn.max() <= high
        assert drawn.mean() == pytest.approx((low + high) / 2, abs=0.03 * (high - low))
    changed = (colours != np.float32(NEUTRAL)).sum(1)
    assert (changed >= 2).mean() == pytest.approx(0.052, abs=0.01)  # each on its own


def clips(folder, colour):
    samples = [(f"v{i}", i % 2, [picture(36, 40, 9 * i + t) for t in range(4)]) for i in range(8)]
    split = open_dataset(write_shards(folder, samples, kind="video"))["train"]
    plan = Plan(split.dataset, len(split), 8, 0)
    return TrainStream(split, plan, 32, sample="uniform", length=3, colour=colour)


def batches(stream, **options):
    with UpdateLoader({"toy": stream}, [{"toy": k} for k in range(3)], **options) as loader:
        return [update["toy"] for update in loader]


def test_a_batch_is_rendered_plainly_then_changed(tmp_path):
    plain, changed = (batches(clips(tmp_path / str(c), c)) for c in (0.0, 0.5))
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
    for before, after in zip(plain, changed, strict=True):
        assert (before.colours == torch.tensor(NEUTRAL)).all()
        assert (after.colours != torch.tensor(NEUTRAL)).any()
        expected = jitter(before.render(32, (0, 0, 0), (1, 1, 1)), after.colours)
        centre, scale = (torch.tensor(v).view(3, 1, 1) for v in (mean, std))
        ours = after.render(32, mean, std)
        torch.testing.assert_close(ours, (expected - centre) / scale, rtol=1e-5, atol=1e-5)
        parts = torch.cat([part.render(32, mean, std) for part in after.split(3)])
        assert torch.equal(parts, ours)


def test_values_follow_from_the_place_in_the_run(tmp_path):
    stream = clips(tmp_path, 0.5)
    whole = [batch.colours for batch in batches(stream)]
    ranks = [batches(stream, rank=rank, world=3) for rank in range(3)]
    for step, colours in enumerate(whole):
        shares = [r[step].colours[r[step].weights > 0] for r in ranks]
        assert torch.equal(torch.cat(shares), colours)
    assert not torch.equal(whole[0], whole[1])


def test_normalise():
    x = frames(2, 3, 4, 4)
    expected = functional.normalize(x, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
    torch.testing.assert_close(normalise(x, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)), expected)
