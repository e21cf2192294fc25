"""The demo's datasets are the same for a seed, and even-handed: only the class tells."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from ivvit_cli.demo.datasets import (
    COLOURS,
    DATASETS,
    DIRECTION,
    ORDER,
    ORDER_FRAMES,
    WAYS,
    DemoSet,
    Pixels,
)
from shards.convert.image import read_image
from shards.convert.media import sniff_kind
from shards.convert.video import read_video
from shards.stream.clips import place_clips

NAMES = [dataset.name for dataset in DATASETS]
each_dataset = pytest.mark.parametrize("dataset", DATASETS, ids=NAMES)


def twin(label: int) -> int:
    first, then = ORDER.classes[label].split("-then-")
    return ORDER.classes.index(f"{then}-then-{first}")


def balls(clip: Pixels) -> list[str]:
    """Name the colour of each frame's ball: that of its most colourful pixels."""
    spread = clip.max(axis=-1).astype(int) - clip.min(axis=-1)  # (T, H, W)
    names = []
    for frame, colourful in zip(clip, spread > 90, strict=True):
        mean = frame[colourful].mean(axis=0)
        names.append(min(COLOURS, key=lambda name: float(np.abs(mean - COLOURS[name]).sum())))
    return names


@each_dataset
def test_a_seed_gives_the_same_samples_and_another_seed_others(dataset: DemoSet) -> None:
    first = dataset.sample("train", 1, 2, seed=0)
    assert np.array_equal(first, dataset.sample("train", 1, 2, seed=0))
    others = [("train", 1, 2, 1), ("train", 1, 3, 0), ("val", 1, 2, 0), ("train", 0, 2, 0)]
    for split, label, number, seed in others:
        assert not np.array_equal(first, dataset.sample(split, label, number, seed))


@each_dataset
def test_the_classes_share_grounds_and_noise(dataset: DemoSet) -> None:
    samples = [dataset.sample("val", label, 0, 0) for label in range(len(dataset.classes))]
    grounds = np.stack([sample.reshape(-1, 3) for sample in samples])  # (C, pixels, 3)
    if dataset is ORDER:  # as pairs: a clip and the one that is played backwards
        grounds = grounds[[label for label in range(len(samples)) if label < twin(label)]]
    alike = (grounds == grounds[0]).all(axis=-1).mean(axis=1)  # (C,), of each class with the first
    assert alike.min() > 0.25  # independent noise would agree next to nowhere


@each_dataset
def test_labels_are_in_the_order_of_the_folders_names(dataset: DemoSet) -> None:
    assert list(dataset.classes) == sorted(set(dataset.classes))


def test_the_twin_of_a_clip_is_the_clip_played_backwards() -> None:
    for split, count in ORDER.per_class.items():
        for number in range(0, count, 7):
            for label in range(len(ORDER.classes)):
                clip = ORDER.sample(split, label, number, 0)
                assert np.array_equal(clip[::-1], ORDER.sample(split, twin(label), number, 0))


def test_a_clip_shows_what_its_class_says_with_one_change_at_a_random_frame() -> None:
    changes = []
    for label, name in enumerate(ORDER.classes):
        first, then = name.split("-then-")
        for number in range(ORDER.per_class["val"]):
            seen = balls(ORDER.sample("val", label, number, 0))
            turns = [t for t, (a, b) in enumerate(pairwise(seen), 1) if a != b]
            assert (seen[0], seen[-1], len(turns)) == (first, then, 1)
            changes += turns
    assert len(set(changes)) > 8
    assert min(changes) >= ORDER_FRAMES // 4
    assert sorted(changes) == sorted(ORDER_FRAMES - turn for turn in changes)


def test_opposite_directions_are_the_same_frames_in_the_opposite_order() -> None:
    for number in range(5):
        down, left, right, up = (DIRECTION.sample("val", label, number, 0) for label in range(4))
        assert np.array_equal(down[::-1], up)
        assert np.array_equal(left[::-1], right)
        assert not np.array_equal(down, right)


def test_a_disc_goes_the_way_of_its_class_and_wraps_round() -> None:
    wrapped = 0
    for label, (name, way) in enumerate(WAYS.items()):
        for number in range(8):
            places = centres(DIRECTION.sample("val", label, number, 0))
            steps = np.diff(np.angle(places), axis=0)
            wrapped += int((abs(steps) > np.pi).any())
            steps = (steps + np.pi) % (2 * np.pi) - np.pi
            moved = steps.mean(axis=0) * 64 / (2 * np.pi)
            assert 1.9 < moved @ way < 3.6, name
            assert abs(moved @ way[::-1]) < 0.1
    assert wrapped > 8


def centres(clip: Pixels) -> np.ndarray:
    """The disc's place on the torus in each frame, (T, 2), as complex numbers."""
    grey = clip.astype(float).mean(axis=-1)
    bright = grey > 100  # (T, H, W)
    turns = np.exp(2j * np.pi * np.arange(64) / 64)
    return np.stack([bright.sum(2) @ turns, bright.sum(1) @ turns], axis=1)


def test_the_held_out_clips_suffice_and_are_not_those_of_the_training() -> None:
    assert ORDER.per_class["val"] * len(ORDER.classes) >= 180
    train = {ORDER.sample("train", 0, number, 0).tobytes() for number in range(40)}
    assert not train & {ORDER.sample("val", 0, number, 0).tobytes() for number in range(32)}


@pytest.mark.parametrize("clips", [1, 2, 3, 10])
def test_the_clips_of_a_video_read_backwards_are_those_of_its_twin(clips: int) -> None:
    rows = place_clips(ORDER_FRAMES, 12, clips=clips, sample="uniform", length=8)
    mirrored = ORDER_FRAMES - 1 - rows[:, ::-1]
    assert sorted(mirrored.tolist()) == sorted(rows.tolist())


@each_dataset
def test_the_files_are_what_they_claim_and_alike_every_time(
    dataset: DemoSet, tmp_path: Path
) -> None:
    few = replace(dataset, per_class={"train": 2, "val": 1})
    counted: list[None] = []
    for name in ("a", "b"):
        few.write(tmp_path / name, 0, lambda: counted.append(None))
    files = sorted(path.relative_to(tmp_path / "a") for path in tmp_path.glob("a/*/*/*"))
    assert len(counted) == 2 * len(files) == 2 * 3 * len(dataset.classes)
    assert files == sorted(few.path(*place) for place in few.places())
    for file in files:
        assert sniff_kind(tmp_path / "a" / file) == dataset.kind
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


@each_dataset
def test_a_file_holds_its_sample(dataset: DemoSet, tmp_path: Path) -> None:
    few = replace(dataset, per_class={"val": 1})
    few.write(tmp_path, 0)
    shape = few.sample("val", 0, 0, 0).shape
    file = tmp_path / few.path("val", 0, 0)
    if dataset.kind == "image":
        image = read_image(file)
        assert (image.height, image.width) == shape[:2]
    else:
        video = read_video(file)
        assert (len(video.frames), video.height, video.width) == shape[:3]
        assert video.fps == pytest.approx(dataset.fps, rel=1e-3)
        assert not video.resampled
