"""The orders of frames: what a model is shown, and that images are left alone."""

import numpy as np
import pytest
import torch

from ivvit_cli.evaluation.order import ORDERS, ordered
from shards.stream.views import ViewedSample


def viewed(kind="video", key="a", clips=((0, 1, 2, 3), (2, 3, 4, 5))):
    frames = torch.arange(6, dtype=torch.uint8)[:, None, None, None].expand(6, 4, 4, 3)
    rows = np.array(clips) if kind == "video" else np.zeros((1, 1), int)
    boxes = torch.tensor([[0.0, 0.0, 4.0, 4.0]], dtype=torch.float64)
    return ViewedSample(0, key, 0, kind, frames, rows, boxes)


def shown(sample):
    """Return the number of each frame that the model is shown, (clips, T)."""
    return sample.render(4, (0, 0, 0), (1, 1, 1))[:, :, 0, 0, 0].mul(255).round().int().tolist()


def test_what_each_order_shows():
    assert shown(ordered(viewed(), "normal")) == [[0, 1, 2, 3], [2, 3, 4, 5]]
    assert shown(ordered(viewed(), "reverse")) == [[3, 2, 1, 0], [5, 4, 3, 2]]
    assert shown(ordered(viewed(), "freeze")) == [[2, 2, 2, 2], [4, 4, 4, 4]]


def test_shuffling_depends_on_the_key_alone():
    long = (range(6), range(6))
    once, again, other = (
        shown(ordered(viewed(key=key, clips=tuple(map(tuple, long))), "shuffle"))
        for key in ("a", "a", "b")
    )
    assert once == again != other
    assert [sorted(clip) for clip in once] == [[*range(6)]] * 2
    assert once[0] != once[1]


def test_all_orders_come_up_when_shuffled():
    seen = {
        tuple(shown(ordered(viewed(key=f"k{k}", clips=((0, 1, 2),)), "shuffle"))[0])
        for k in range(60)
    }
    assert len(seen) == 6


@pytest.mark.parametrize("order", ORDERS)
def test_an_image_has_no_order(order):
    sample = viewed("image")
    assert ordered(sample, order) is sample
