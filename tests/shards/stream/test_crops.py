"""Crops: their places and sizes, against torchvision and by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torchvision.transforms import RandomResizedCrop

from shards.stream.crops import centred, random_resized, scaled_size, short_side, view_crops
from shards.stream.dice import Dice, mix

sides = st.integers(1, 600)
AREA, RATIO = (0.08, 1.0), (3 / 4, 4 / 3)


def dice(seed, count=1):
    return Dice(mix(np.arange(seed, seed + count, dtype=np.uint64)))


def same(side, count=1):
    return np.full(count, side)


def inside(crop, height, width):
    top, left, tall, wide = crop.cut
    y, x, h, w = crop.box
    return (
        min(top, left, y, x) >= 0
        and min(tall, wide, h, w) > 0
        and top + tall <= height
        and left + wide <= width
        and y + h <= tall + 1e-9
        and x + w <= wide + 1e-9
    )


@given(height=sides, width=sides, seed=st.integers(0, 100))
def test_random_resized_stays_inside(height, width, seed):
    crops = random_resized(
        same(height, 8), same(width, 8), area=AREA, ratio=RATIO, dice=dice(seed, 8)
    )
    for crop in crops:
        assert inside(crop, height, width)
        assert crop.box == (0, 0, *crop.cut[2:])


def test_random_resized_has_torchvisions_distribution():
    count = 4000
    ours = random_resized(
        same(240, count), same(320, count), area=AREA, ratio=RATIO, dice=dice(0, count)
    ).cuts
    image = np.empty((3, 240, 320))
    import torch

    torch.manual_seed(0)
    theirs = np.array(
        [
            RandomResizedCrop.get_params(torch.from_numpy(image), list(AREA), list(RATIO))
            for _ in range(count)
        ]
    )
    for column in range(4):  # top, left, height, width
        a, b = np.sort(ours[:, column]), np.sort(theirs[:, column])
        assert np.abs(a - b).mean() < 4  # the distance between the distributions, in pixels


def test_random_resized_falls_back_to_the_largest_centred_box():
    heights, widths = np.array([10, 1000]), np.array([1000, 10])
    crops = random_resized(heights, widths, area=(1, 1), ratio=(1, 1), dice=dice(0, 2))
    assert crops.cuts.tolist() == [[0, 495, 10, 10], [495, 0, 10, 10]]


def test_a_crop_does_not_depend_on_the_others():
    heights, widths = np.array([40, 1000, 77, 20]), np.array([50, 10, 300, 20])
    for draw, options in (
        (random_resized, {"area": AREA, "ratio": RATIO}),
        (short_side, {"size": 16, "short_sides": (16, 24)}),
    ):
        together = list(draw(heights, widths, dice=dice(5, 4), **options))
        alone = [
            next(iter(draw(heights[k : k + 1], widths[k : k + 1], dice=dice(5 + k), **options)))
            for k in range(4)
        ]
        assert together == alone


@given(height=sides, width=sides, seed=st.integers(0, 50))
def test_short_side_stays_inside_and_square_in_scaled_pixels(height, width, seed):
    crops = short_side(same(height), same(width), size=64, short_sides=(64, 91), dice=dice(seed))
    (crop,) = crops
    assert inside(crop, height, width)
    short = 64 * min(height, width) / crop.box[2 if height <= width else 3]
    assert 64 - 1e-6 <= short <= 91 + 1e-6


def test_short_side_reaches_both_bounds_and_both_ends():
    crops = short_side(
        same(240, 600), same(320, 600), size=224, short_sides=(224, 232), dice=dice(0, 600)
    )
    boxes = [(c.box[2], c.cut[1] + c.box[1], c.cut[1] + c.cut[3]) for c in crops]
    heights = sorted({round(224 * 240 / h) for h, _, _ in boxes})
    assert heights == list(range(224, 233))
    assert min(left for _, left, _ in boxes) == 0
    assert max(right for _, _, right in boxes) == 320


def places(height, width, crops, size=224):
    """The crops' corners in pixels of the scaled frame."""
    tall, wide = scaled_size(height, width, size)
    return [
        (
            round((crop.cut[0] + crop.box[0]) * tall / height, 6),
            round((crop.cut[1] + crop.box[1]) * wide / width, 6),
        )
        for crop in view_crops(height, width, size=size, crops=crops)
    ]


def test_three_crops_are_the_ends_and_the_middle_of_the_long_side():
    assert places(240, 320, 3) == [(0, 0), (0, 37), (0, 74)]  # 298 wide
    assert places(320, 240, 3) == [(0, 0), (37, 0), (74, 0)]
    assert places(240, 320, 1) == [(0, 37)]
    assert places(240, 320, 5) == [(0, 0), (0, 18), (0, 37), (0, 56), (0, 74)]


def test_training_without_chance_takes_the_middle_view():
    heights, widths = np.array([240, 360, 99]), np.array([320, 64, 99])
    views = [view_crops(h, w, size=48, crops=1)[0] for h, w in zip(heights, widths, strict=True)]
    assert list(centred(heights, widths, size=48)) == views


@pytest.mark.parametrize("side", [32, 64, 224, 500])
def test_a_square_frame_has_one_distinct_crop(side):
    assert len(set(view_crops(side, side, size=224, crops=3))) == 1


@given(height=sides, width=sides, crops=st.integers(1, 7), size=st.integers(1, 300))
def test_view_crops_stay_inside(height, width, crops, size):
    found = view_crops(height, width, size=size, crops=crops)
    assert len(found) == crops
    assert all(inside(crop, height, width) for crop in found)


@given(height=sides, width=sides, short=sides)
def test_scaled_size_is_torchvisions(height, width, short):
    tall, wide = scaled_size(height, width, short)
    assert min(tall, wide) == short
    exact = short * max(height, width) / min(height, width)
    assert math.floor(exact + 1e-9) == max(tall, wide)
