"""Updates: what a batch holds, whoever reads it, and what happens when something breaks."""

import math
import threading
import time

import pytest
import torch
from naive_shards import numbered, picture, write_shards
from torch.nn.functional import interpolate

from shards import open_dataset
from shards.errors import InputError, UsageError
from shards.index import open_index
from shards.stream.decode import decode_frame
from shards.stream.loader import TrainStream, UpdateLoader
from shards.stream.plan import Plan

GREY = {"mean": (0.0, 0.0, 0.0), "std": (1 / 255, 1 / 255, 1 / 255)}
CLIP = {"sample": "window", "length": 4, "seconds": 0.4}


@pytest.fixture(autouse=True)
def _threads_end():
    """Whatever a test does to a loader, no thread of it may be left."""
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


def video_split(folder, count=7, ragged=True, **options):
    samples = [
        (f"v{i}", i % 2, [picture(40 + grow, 56 - grow, 20 * i + t) for t in range(3 + 3 * i)])
        for i in range(count)
        for grow in [i * ragged]
    ]
    return open_dataset(write_shards(folder, samples, kind="video", **options))["train"]


def image_split(folder, count=11, ragged=True, codec="png", **options):
    samples = [
        (f"i{k}", k % 2, [picture(20 + k * ragged, 30 - k * ragged, k)]) for k in range(count)
    ]
    return open_dataset(write_shards(folder, samples, name="pics", codec=codec, **options))["train"]


def stream(split, batch=4, seed=0, size=32, **options):
    options = {**(CLIP if split.kind == "video" else {}), **options}
    return TrainStream(split, Plan(split.dataset, len(split), batch, seed), size, **options)


def load(streams, steps, **options):
    updates = [dict.fromkeys(streams, step) for step in steps]
    with UpdateLoader(streams, updates, **options) as loader:
        return list(loader)


def resize(frame, size):
    planes = torch.from_numpy(frame).permute(2, 0, 1)[None].double()
    return interpolate(planes, size, mode="bilinear", antialias=True)[0]


def throw(stream, step, position, purpose, count):
    """The random numbers of one place of a step, whatever batch it is in."""
    return stream.plan.dice(step, range(position, position + 1)).throw(purpose, count)[0].tolist()


def naive_video(stream, step, position):
    """One clip, frame by frame: decode, resize all of it, crop, flip."""
    index = int(stream.plan.indices(step)[position])
    sample = stream.split[index]
    window = min(round(CLIP["seconds"] * sample.fps), len(sample.frames))
    (turn,) = throw(stream, step, position, "clip", 1)
    start = int(turn * (len(sample.frames) - window + 1))
    numbers = [start + t * (window - 1) // (CLIP["length"] - 1) for t in range(CLIP["length"])]
    turns = throw(stream, step, position, "crop", 3)
    short = 32 + int(turns[0] * (32 * 10 // 7 - 32 + 1))
    scaled = [
        short * side // min(sample.height, sample.width) for side in (sample.height, sample.width)
    ]
    top, left = int(turns[1] * (scaled[0] - 32 + 1)), int(turns[2] * (scaled[1] - 32 + 1))
    flip = throw(stream, step, position, "flip", 1)[0] < 0.5
    frames = []
    for number in numbers:
        frame = resize(decode_frame(sample.frames[number], "jpg"), scaled)
        frame = frame[:, top : top + 32, left : left + 32]
        frames.append(frame.flip(-1) if flip else frame)
    return sample.key, sample.label, torch.stack(frames)


def naive_image(stream, step, position):
    """One image: decode, crop, resize, flip."""
    index = int(stream.plan.indices(step)[position])
    sample = stream.split[index]
    turns = throw(stream, step, position, "crop", 22)
    for area, aspect in zip(turns[:10], turns[10:20], strict=True):
        target = sample.height * sample.width * (0.08 + 0.92 * area)
        ratio = math.exp(math.log(3 / 4) + (math.log(4 / 3) - math.log(3 / 4)) * aspect)
        width, height = round(math.sqrt(target * ratio)), round(math.sqrt(target / ratio))
        if 0 < width <= sample.width and 0 < height <= sample.height:
            break
    top, left = (
        int(turns[20] * (sample.height - height + 1)),
        int(turns[21] * (sample.width - width + 1)),
    )
    pixels = decode_frame(sample.frames[0], sample.codec)[top : top + height, left : left + width]
    image = resize(pixels.copy(), (32, 32))
    flip = throw(stream, step, position, "flip", 1)[0] < 0.5
    return sample.key, sample.label, image.flip(-1) if flip else image


@pytest.mark.parametrize("ragged", [True, False])
@pytest.mark.parametrize("codec", ["png", "ppm", "jpg"])
def test_batches_equal_naive_ones(tmp_path, ragged, codec):
    """Cut out of frames of many sizes, and decoded in place where all have one."""
    streams = {
        "pics": stream(image_split(tmp_path / "a", ragged=ragged, codec=codec)),
        "toy": stream(video_split(tmp_path / "b", ragged=ragged)),
    }
    naive = {"pics": naive_image, "toy": naive_video}
    for step, update in enumerate(load(streams, range(6), threads=2)):
        assert list(update) == ["pics", "toy"]
        for name, batch in update.items():
            expected = [naive[name](streams[name], step, k) for k in range(4)]
            assert batch.keys == tuple(key for key, _, _ in expected)
            assert batch.labels.tolist() == [label for _, label, _ in expected]
            assert batch.weights.tolist() == [1.0] * 4
            assert (batch.dataset, batch.count) == (name, 4)
            pixels = batch.render(32, **GREY)
            assert pixels.shape == ((4, 3, 32, 32) if name == "pics" else (4, 4, 3, 32, 32))
            assert (pixels - torch.stack([p for _, _, p in expected])).abs().max() < 0.01


def same(first, second):
    return all(
        torch.equal(getattr(first, name), getattr(second, name))
        for name in ("frames", "boxes", "cuts", "flips", "labels", "weights")
    ) and (first.keys, first.count) == (second.keys, second.count)


def test_threads_prefetch_and_repetition_change_nothing(tmp_path):
    streams = {"toy": stream(video_split(tmp_path))}
    reference = load(streams, range(8), threads=1, prefetch=0)
    for options in ({"threads": 8, "prefetch": 6}, {"threads": 3, "prefetch": 1}):
        for one, other in zip(reference, load(streams, range(8), **options), strict=True):
            assert same(one["toy"], other["toy"])


def test_a_later_step_is_the_same_without_the_earlier_ones(tmp_path):
    streams = {"toy": stream(video_split(tmp_path))}
    assert same(load(streams, range(30))[29]["toy"], load(streams, [29])[0]["toy"])


@pytest.mark.parametrize(("batch", "world"), [(4, 1), (4, 2), (4, 3), (5, 2), (2, 3), (1, 4)])
def test_ranks_cut_the_same_batch(tmp_path, batch, world):
    streams = {"toy": stream(video_split(tmp_path), batch=batch)}
    whole = load(streams, range(4))
    parts = [load(streams, range(4), rank=rank, world=world) for rank in range(world)]
    for step, update in enumerate(whole):
        ranks = [part[step]["toy"] for part in parts]
        assert {len(b.keys) for b in ranks} == {-(-batch // world)}
        assert {b.frames.shape[0] for b in ranks} == {-(-batch // world)}
        assert {b.count for b in ranks} == {batch}
        real = [b.weights.bool() for b in ranks]
        keys = [
            k for b, r in zip(ranks, real, strict=True) for k, m in zip(b.keys, r, strict=True) if m
        ]
        assert tuple(keys) == update["toy"].keys
        joined = torch.cat([b.render(32, **GREY)[m] for b, m in zip(ranks, real, strict=True)])
        assert torch.allclose(joined, update["toy"].render(32, **GREY), atol=1e-3)
        for b, mask in zip(ranks, real, strict=True):
            assert torch.isfinite(b.render(32, **GREY)).all()
            assert all(key == "" for key, m in zip(b.keys, mask, strict=True) if not m)


def test_padding_is_zero(tmp_path):
    (update,) = load({"toy": stream(video_split(tmp_path), batch=6)}, [0], world=2, rank=0)
    batch = update["toy"]
    assert not batch.cuts[:, :2].any()
    assert len(batch.cuts.unique(dim=0)) == 3
    for row, (height, width) in enumerate(batch.cuts[:, 2:].tolist()):
        assert batch.frames[row, :, height:].count_nonzero() == 0
        assert batch.frames[row, :, :, width:].count_nonzero() == 0


def test_what_is_cut_off_does_not_travel(tmp_path):
    """Frames of one size travel whole, but not for small cuts."""
    split = video_split(tmp_path, ragged=False)
    sides = {
        short: load({"toy": stream(split, size=8, short_sides=(short, short))}, [0])[0][
            "toy"
        ].frames.shape[2:4]
        for short in (8, 40)
    }
    assert sides[8] == (40, 56)
    assert max(sides[40]) <= 11


def test_micro_batches_are_the_batch(tmp_path):
    batch = load({"toy": stream(video_split(tmp_path), batch=5)}, [0])[0]["toy"]
    for parts in (1, 2, 5, 9):
        pieces = batch.split(parts)
        assert len(pieces) == min(parts, 5)
        assert sum((piece.keys for piece in pieces), ()) == batch.keys
        assert {piece.count for piece in pieces} == {5}
        joined = torch.cat([piece.render(32, **GREY) for piece in pieces])
        assert torch.allclose(joined, batch.render(32, **GREY), atol=1e-3)


def test_to_moves_every_tensor(tmp_path):
    batch = load({"toy": stream(video_split(tmp_path))}, [0])[0]["toy"].to("meta")
    tensors = [batch.frames, batch.boxes, batch.cuts, batch.flips, batch.labels, batch.weights]
    assert {tensor.device.type for tensor in tensors} == {"meta"}


def test_updates_may_name_some_datasets_and_be_endless(tmp_path):
    streams = {
        "pics": stream(image_split(tmp_path / "a")),
        "toy": stream(video_split(tmp_path / "b")),
    }
    pulled = []

    def updates():
        for step in range(10**9):
            pulled.append(step)
            yield {"toy": step} if step % 2 else {"pics": step, "toy": step}

    with UpdateLoader(streams, updates(), prefetch=3) as loader:
        assert [list(next(loader)) for _ in range(3)] == [["pics", "toy"], ["toy"], ["pics", "toy"]]
    assert len(pulled) <= 6  # no further ahead than asked for
    assert list(loader) == []


def test_centre_crop_and_short_videos(tmp_path):
    samples = [
        ("one", 0, [numbered(48, 64, 99)]),
        ("two", 1, [numbered(64, 48, t) for t in (10, 200)]),
    ]
    split = open_dataset(write_shards(tmp_path, samples, kind="video"))["train"]
    options = {"sample": "uniform", "length": 4, "seconds": None, "crop": "none", "flip": 0.0}
    batch = load({"toy": stream(split, batch=2, **options)}, [0])[0]["toy"]
    shown = dict(
        zip(
            batch.keys, batch.render(32, **GREY).mean((2, 3, 4)).round().int().tolist(), strict=True
        )
    )
    assert shown["one"] == [99] * 4
    assert shown["two"] == [10, 10, 200, 200]


def test_classes_that_name_a_side_are_never_flipped(tmp_path):
    split = video_split(tmp_path, flip_unsafe=("b",))
    flips = {0: [], 1: []}
    for update in load({"toy": stream(split, flip=1.0)}, range(7)):
        for label, flip in zip(
            update["toy"].labels.tolist(), update["toy"].flips.tolist(), strict=True
        ):
            flips[label].append(flip)
    assert all(flips[0])
    assert not any(flips[1])


def test_a_bad_frame_names_dataset_shard_and_key_and_ends_the_threads(tmp_path):
    split = video_split(tmp_path)
    shard = tmp_path / "toy-train-000001.tar"  # v3, v4, v5
    data = bytearray(shard.read_bytes())
    places = open_index(tmp_path / "toy-train.index").frames["offset"]
    first, end = (int(places[split.samples[i]["first_frame"]]) for i in (4, 5))
    data[first:end] = bytes(end - first)
    shard.write_bytes(data)
    for threads in (1, 4):
        with pytest.raises(InputError, match=r"toy: toy-train-000001\.tar: sample v4: "):
            load({"toy": stream(split)}, range(50), threads=threads)


@pytest.mark.parametrize(
    "error", [RuntimeError("odd"), MemoryError(), SystemExit(1), KeyboardInterrupt()]
)
def test_whatever_a_thread_dies_of_reaches_the_consumer(tmp_path, monkeypatch, error):
    split = video_split(tmp_path)

    def fail(*args):
        raise error

    monkeypatch.setattr(split, "read_places", fail)
    expected = InputError if isinstance(error, Exception) else type(error)
    with pytest.raises(expected), UpdateLoader({"toy": stream(split)}, [{"toy": 0}]) as loader:
        next(loader)


def test_an_error_of_the_updates_reaches_the_consumer(tmp_path):
    def updates():
        yield {"toy": 0}
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(UpdateLoader({"toy": stream(video_split(tmp_path))}, updates()))


def test_closing_is_prompt_and_drops_what_was_not_begun(tmp_path, monkeypatch):
    split = video_split(tmp_path)
    reads, read = [], split.read_places
    monkeypatch.setattr(
        split, "read_places", lambda *args: reads.append(1) or time.sleep(0.05) or read(*args)
    )
    loader = UpdateLoader(
        {"toy": stream(split)}, ({"toy": k} for k in range(1000)), threads=2, prefetch=50
    )
    next(loader)
    loader.close()
    assert len(reads) <= 24  # the first batch, and what two threads had begun by then


def test_a_plan_for_another_split_and_sides_below_the_size_are_refused(tmp_path):
    split = video_split(tmp_path)
    with pytest.raises(UsageError, match="plan of 9 samples"):
        TrainStream(split, Plan("toy", 9, 4, 0), 32, **CLIP)
    with pytest.raises(UsageError, match="short_side"):
        stream(split, short_sides=(24, 48))
