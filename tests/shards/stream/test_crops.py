"""Crops: their places and sizes, against torchvision and by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torchvision.transforms import RandomResizedCrop

from shards.stream.crops import random_resized, scaled_size, short_side, view_crops

sides = st.integers(1, 600)
AREA, RATIO = (0.08, 1.0), (3 / 4, 4 / 3)


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
    generator = np.random.default_rng(seed)
    crop = random_resized(height, width, area=AREA, ratio=RATIO, generator=generator)
    assert inside(crop, height, width)
    assert crop.box == (0, 0, *crop.cut[2:])


def test_random_resized_has_torchvisions_distribution():
    generator = np.random.default_rng(0)
    ours = np.array(
        [
            random_resized(240, 320, area=AREA, ratio=RATIO, generator=generator).cut
            for _ in range(4000)
        ]
    )
    image = np.empty((3, 240, 320))
    import torch

    torch.manual_seed(0)
    theirs = np.array(
        [
            RandomResizedCrop.get_params(torch.from_numpy(image), list(AREA), list(RATIO))
            for _ in range(4000)
        ]
    )
    for column in range(4):  # top, left, height, width
        a, b = np.sort(ours[:, column]), np.sort(theirs[:, column])
        assert np.abs(a - b).mean() < 4  # the distance between the distributions, in pixels


def test_random_resized_falls_back_to_the_largest_centred_box():
    generator = np.random.default_rng(0)
    crop = random_resized(10, 1000, area=(1, 1), ratio=(1, 1), generator=generator)
    assert crop.cut == (0, 495, 10, 10)
    crop = random_resized(1000, 10, area=(1, 1), ratio=(1, 1), generator=generator)
    assert crop.cut == (495, 0, 10, 10)


@given(height=sides, width=sides, seed=st.integers(0, 50))
def test_short_side_stays_inside_and_square_in_scaled_pixels(height, width, seed):
    generator = np.random.default_rng(seed)
    crop = short_side(height, width, size=64, short_sides=(64, 91), generator=generator)
    assert inside(crop, height, width)
    short = 64 * min(height, width) / crop.box[2 if height <= width else 3]
    assert 64 - 1e-6 <= short <= 91 + 1e-6


def test_short_side_reaches_both_bounds_and_both_ends():
    boxes = []
    for seed in range(600):
        generator = np.random.default_rng(seed)
        crop = short_side(240, 320, size=224, short_sides=(224, 232), generator=generator)
        boxes.append((crop.box[2], crop.cut[1] + crop.box[1], crop.cut[1] + crop.cut[3]))
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
