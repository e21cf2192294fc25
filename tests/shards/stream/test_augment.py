"""Rendering equals ATen's antialiased resize, before or after the crop, and reads no padding."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import interpolate

from shards.stream import banded, dense
from shards.stream.augment import render
from shards.stream.crops import random_resized, scaled_size, short_side, view_crops
from shards.stream.dice import Dice, mix

PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1 / 255, 1 / 255, 1 / 255)}  # out in grey levels
TOLERANCE = 0.01


def noise(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, shape, np.uint8))


def resized(frames, size):
    """ATen's resize of (N, H, W, 3) frames to (N, 3, *size)."""
    planes = frames.permute(0, 3, 1, 2).double()
    return interpolate(planes, size, mode="bilinear", antialias=True, align_corners=False)


def rendered(frames, crop, size, flip=False):
    """Render what `crop` cuts out of frames (N, H, W, 3)."""
    top, left, height, width = crop.cut
    cut = frames[:, top : top + height, left : left + width]
    n = len(cut)
    boxes = torch.tensor([crop.box] * n)
    cuts = torch.tensor([(0, 0, height, width)] * n)
    return render(cut, boxes, cuts, torch.tensor([flip] * n), size=size, **PLAIN)


def dice(seed):
    return Dice(mix(np.array([seed], np.uint64)))


sides = st.integers(1, 120)


@settings(max_examples=60, deadline=None)
@given(height=sides, width=sides, size=st.integers(1, 80), seed=st.integers(0, 9))
def test_crop_then_resize(height, width, size, seed):
    frames = noise(2, height, width, 3, seed=seed)
    (crop,) = random_resized(
        np.array([height]), np.array([width]), area=(0.08, 1), ratio=(0.75, 4 / 3), dice=dice(seed)
    )
    top, left, h, w = crop.cut
    expected = resized(frames[:, top : top + h, left : left + w], (size, size))
    assert (rendered(frames, crop, size) - expected).abs().max() < TOLERANCE


@settings(max_examples=60, deadline=None)
@given(height=sides, width=sides, size=st.integers(1, 60), seed=st.integers(0, 9))
def test_resize_then_crop(height, width, size, seed):
    frames = noise(1, height, width, 3, seed=seed)
    sides = np.array([height]), np.array([width])
    (crop,) = short_side(*sides, size=size, short_sides=(size, 2 * size), dice=dice(seed))
    short = round(size * min(height, width) / crop.box[2 if height <= width else 3])
    scaled = scaled_size(height, width, short)
    top = round((crop.cut[0] + crop.box[0]) * scaled[0] / height)
    left = round((crop.cut[1] + crop.box[1]) * scaled[1] / width)
    expected = resized(frames, scaled)[:, :, top : top + size, left : left + size]
    assert (rendered(frames, crop, size) - expected).abs().max() < TOLERANCE


@pytest.mark.parametrize(
    "shape", [(240, 320), (320, 240), (360, 640), (64, 64), (32, 47), (700, 9)]
)
def test_views_are_crops_of_the_resized_frame(shape):
    frames = noise(1, *shape, 3)
    tall, wide = scaled_size(*shape, 224)
    whole = resized(frames, (tall, wide))
    middle = round((tall - 224) / 2), round((wide - 224) / 2)
    corners = [(0, 0), middle, (tall - 224, wide - 224)]
    for crop, (top, left) in zip(view_crops(*shape, size=224, crops=3), corners, strict=True):
        expected = whole[:, :, top : top + 224, left : left + 224]
        assert (rendered(frames, crop, 224) - expected).abs().max() < TOLERANCE


def test_flip_mirrors_left_and_right():
    frames = noise(1, 50, 70, 3)
    (crop,) = view_crops(50, 70, size=32, crops=1)
    straight, mirrored = rendered(frames, crop, 32), rendered(frames, crop, 32, flip=True)
    assert torch.equal(mirrored, straight.flip(-1))


def test_each_sample_has_its_own_crop_and_padding_is_not_read():
    shapes = [(20, 30), (41, 17), (8, 60)]
    frames = torch.full((3, 41, 60, 3), 255, dtype=torch.uint8)  # padding that would be seen
    alone = []
    for row, (height, width) in enumerate(shapes):
        frames[row, :height, :width] = noise(height, width, 3, seed=row)
        alone.append(resized(frames[row : row + 1, :height, :width], (24, 24)))
    boxes = torch.tensor([(0.0, 0.0, h, w) for h, w in shapes])
    cuts = torch.tensor([(0, 0, h, w) for h, w in shapes])
    flips = torch.tensor([False, True, False])
    got = render(frames, boxes, cuts, flips, size=24, **PLAIN)
    expected = torch.cat(alone)
    expected[1] = expected[1].flip(-1)
    assert (got - expected).abs().max() < TOLERANCE


def test_frames_of_a_clip_share_their_crop():
    clips = noise(2, 5, 40, 50, 3)
    boxes = torch.tensor([(3.5, 2.0, 20.0, 30.0), (0.0, 0.0, 40.0, 50.0)])
    cuts, flips = torch.tensor([(0, 0, 40, 50)] * 2), torch.tensor([True, False])
    got = render(clips, boxes, cuts, flips, size=16, **PLAIN)
    assert got.shape == (2, 5, 3, 16, 16)
    for t in range(5):
        frame = render(clips[:, t], boxes, cuts, flips, size=16, **PLAIN)
        assert torch.allclose(got[:, t], frame, atol=1e-3)


def test_normalisation_and_type():
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    frames = noise(2, 16, 16, 3)
    box, cut = torch.tensor([[0.0, 0, 16, 16]] * 2), torch.tensor([[0, 0, 16, 16]] * 2)
    straight = torch.zeros(2, dtype=torch.bool)
    got = render(frames, box, cut, straight, size=16, mean=mean, std=std)
    expected = (frames.permute(0, 3, 1, 2) / 255 - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(
        std
    ).view(3, 1, 1)
    assert got.dtype == torch.float32
    assert got.is_contiguous()
    assert torch.allclose(got, expected, atol=1e-5)


def test_autocast_does_not_round_the_pixels():
    frames = noise(1, 33, 47, 3)
    (crop,) = view_crops(33, 47, size=32, crops=1)
    plain = rendered(frames, crop, 32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(rendered(frames, crop, 32), plain)
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        assert rendered(frames, crop, 32).dtype == torch.float32


@settings(max_examples=40, deadline=None, derandomize=True)
@given(height=sides, width=sides, size=st.integers(1, 80), seed=st.integers(0, 9))
def test_bands_and_dense_products_give_the_same(height, width, size, seed):
    """What a CPU does and what a GPU does, on boxes and cuts anywhere in the frame."""
    generator = np.random.default_rng(seed)
    clips = noise(3, 2, height, width, 3, seed=seed)
    ends = np.sort(generator.integers(0, [height + 1, width + 1], (3, 2, 2)), axis=1)  # (N, 2, yx)
    ends[:, 1] = np.maximum(ends[:, 1], ends[:, 0] + 1)
    ends -= np.maximum(ends[:, 1:] - [height, width], 0)
    starts, cut = ends[:, 0], ends[:, 1] - ends[:, 0]
    inner = generator.uniform(0, 0.4, (3, 2)) * cut
    extent = (cut - inner) * generator.uniform(0.5, 1, (3, 2))
    boxes = torch.from_numpy(np.hstack([starts + inner, extent]))
    cuts = torch.from_numpy(np.hstack([starts, cut]))
    flips = torch.tensor([False, True, False])
    gain, shift = torch.rand(3, 1, 1), torch.rand(3, 1, 1)
    bands, whole = (
        module.resample(clips, boxes, cuts, flips, gain, shift, size) for module in (banded, dense)
    )
    assert bands.dtype == whole.dtype == torch.float32
    assert bands.is_contiguous()
    assert (bands - whole).abs().max() < 1e-3  # grey levels


def test_nothing_is_read_beside_a_cut():
    frames = noise(1, 40, 50, 3)
    cut = torch.tensor([(7, 5, 20, 30)])
    box, flip = torch.tensor([(8.5, 6.0, 17.0, 29.0)]), torch.tensor([False])
    got = render(frames, box, cut, flip, size=24, **PLAIN)
    alone, origin = frames[:, 7:27, 5:35], torch.tensor([(7, 5, 0, 0)])
    expected = render(alone, box - origin, torch.tensor([(0, 0, 20, 30)]), flip, size=24, **PLAIN)
    assert torch.equal(got, expected)
    frames[:, :7], frames[:, 27:], frames[:, :, :5], frames[:, :, 35:] = 0, 255, 255, 0
    assert torch.equal(render(frames, box, cut, flip, size=24, **PLAIN), got)
