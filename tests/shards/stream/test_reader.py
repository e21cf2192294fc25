"""The reader against the naive writer: every layout, every fault, many threads."""

import json
import os
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from naive_shards import encode, numbered, picture, write_shards

from shards import open_dataset
from shards.errors import InputError
from shards.index import FRAME, SAMPLE, open_index, write_index
from shards.stream import files


def clips(count=7, frames=12):
    return [
        (f"v{i}", i % 2, [numbered(16, 24, 10 * i + t) for t in range(frames - i)])
        for i in range(count)
    ]


@pytest.mark.parametrize("layout", ["mjpg", "frames"])
def test_every_frame_of_every_video_comes_back(tmp_path, layout):
    samples = clips()
    split = open_dataset(write_shards(tmp_path, samples, kind="video", layout=layout))["train"]
    assert len(split) == len(samples)
    for i, (key, label, frames) in enumerate(samples):
        sample = split[i]
        assert (sample.key, sample.label, sample.class_name) == (key, label, "ab"[label])
        assert (sample.fps, sample.codec) == (25.0, "jpg")
        assert (sample.width, sample.height) == (24, 16)
        assert sample.frames == [encode(frame, "jpg") for frame in frames]


@pytest.mark.parametrize("codec", ["jpg", "png", "ppm"])
def test_images_come_back_in_every_codec(tmp_path, codec):
    samples = [(f"i{k}", 0, [picture(9, 13, k)]) for k in range(4)]
    split = open_dataset(write_shards(tmp_path, samples, codec=codec))["train"]
    assert split.kind == "image"
    for i, (_, _, frames) in enumerate(samples):
        assert split[i].frames == [encode(frames[0], codec)]
        (pixels,) = split.pixels(i)
        assert np.abs(pixels.astype(int) - frames[0]).max() <= (40 if codec == "jpg" else 0)


@pytest.mark.parametrize("layout", ["mjpg", "frames"])
@pytest.mark.parametrize("wanted", [[0], [3, 4, 5], [0, 5, 11], [7, 2, 2, 9], []])
def test_only_the_wanted_frames_in_the_wanted_order(tmp_path, layout, wanted):
    split = open_dataset(write_shards(tmp_path, clips(1), kind="video", layout=layout))["train"]
    everything = split.read(0)
    assert split.read(0, wanted) == [everything[k] for k in wanted]


def test_a_clip_is_read_without_the_rest_of_the_shard(tmp_path, monkeypatch):
    noise = np.random.default_rng(0).integers(0, 256, (40, 64, 64, 3), np.uint8)
    split = open_dataset(write_shards(tmp_path, [("v", 0, list(noise))], kind="video"))["train"]
    sizes, pread = [], os.pread
    monkeypatch.setattr(os, "pread", lambda *args: sizes.append(args[1]) or pread(*args))
    frames = split.read(0, [3, 4, 5, 30])
    assert sizes[:2] == [SAMPLE.itemsize, 40 * FRAME.itemsize]
    assert len(sizes[2:]) == 2  # neighbours in one go
    assert sum(sizes[2:]) == sum(map(len, frames))


def open_files():
    return len(list(Path("/proc/self/fd").iterdir()))


def test_descriptors_are_few_and_threads_agree(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "OPEN_SHARDS", 2)
    samples = [(f"v{i:02d}", 0, [numbered(8, 8, i)]) for i in range(12)]
    folder = write_shards(tmp_path, samples, per_shard=1, codec="ppm")
    split = open_dataset(folder)["train"]
    before = open_files()
    order = np.random.default_rng(0).integers(0, 12, 3000)
    with ThreadPoolExecutor(8) as pool:
        for i, frames in zip(order, pool.map(split.read, order), strict=True):
            assert frames == [encode(numbered(8, 8, i), "ppm")]
    assert open_files() <= before + 2


def test_a_cut_shard_names_shard_and_key(tmp_path):
    folder = write_shards(tmp_path, clips(), kind="video")
    shard = folder / "toy-train-000001.tar"
    os.truncate(shard, shard.stat().st_size - 4096)
    split = open_dataset(folder)["train"]
    assert split.read(0)
    with pytest.raises(InputError, match=r"toy: toy-train-000001\.tar: sample v3: .*bytes long"):
        split.read(3)


def test_a_shard_cut_after_it_was_opened(tmp_path):
    folder = write_shards(tmp_path, clips(), kind="video")
    split = open_dataset(folder)["train"]
    split.read(0)
    os.truncate(folder / "toy-train-000000.tar", 600)
    with pytest.raises(InputError, match=r"toy-train-000000\.tar: sample v0: .*ends before"):
        split.read(0)


def test_a_missing_shard_names_shard_and_key(tmp_path):
    folder = write_shards(tmp_path, clips(), kind="video")
    (folder / "toy-train-000000.tar").unlink()
    with pytest.raises(InputError, match=r"toy-train-000000\.tar: sample v1: .*No such file"):
        open_dataset(folder)["train"].read(1)


def test_a_frame_that_is_overwritten_or_of_another_size(tmp_path):
    folder = write_shards(tmp_path, clips(1), kind="video", layout="frames")
    shard = folder / "toy-train-000000.tar"
    data = shard.read_bytes()
    first = encode(numbered(16, 24, 0), "jpg")
    shard.write_bytes(data.replace(first, b"x" * len(first)))
    with pytest.raises(InputError, match="sample v0: not a readable jpg"):
        list(open_dataset(folder)["train"].pixels(0))
    turned = encode(numbered(24, 16, 0), "jpg")
    assert len(turned) == len(first)
    shard.write_bytes(data.replace(first, turned))
    with pytest.raises(InputError, match=r"sample v0: a frame is \(24, 16\)"):
        list(open_dataset(folder)["train"].pixels(0))


def test_an_unknown_split_lists_those_there_are(tmp_path):
    with pytest.raises(InputError) as caught:
        open_dataset(write_shards(tmp_path, clips(1), kind="video"))["test"]
    assert "train" in caught.value.hint


def test_an_index_of_another_length(tmp_path):
    folder = write_shards(tmp_path, clips(2), kind="video")
    other = write_shards(tmp_path / "other", clips(3), kind="video")
    (folder / "toy-train.index").write_bytes((other / "toy-train.index").read_bytes())
    with pytest.raises(InputError, match="3 samples"):
        open_dataset(folder)["train"]


def edit_record(folder, field, value):
    path = folder / "toy-train.index"
    index = open_index(path)
    samples, frames = np.array(index.samples), np.array(index.frames)
    samples[field][2] = value
    write_index(path, index.header, samples, frames)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[("codec", 3), ("codec", 77), ("shard", 3), ("shard", 2**32 - 1)],
        *[("label", 2), ("label", 55), ("label", -1), ("frames", 0), ("frames", 2**32 - 1)],
        *[("first_frame", 54), ("first_frame", 2**64 - 1)],
    ],
)
def test_a_record_that_does_not_fit_the_manifest(tmp_path, field, value):
    folder = write_shards(tmp_path, clips(), kind="video")  # 63 frames, of which sample 2 has 10
    edit_record(folder, field, value)
    with pytest.raises(InputError, match=rf"train\.index: sample 2: there is no {field} {value}$"):
        open_dataset(folder)["train"]


def test_records_at_the_bounds_are_sound(tmp_path):
    folder = write_shards(tmp_path, clips(), kind="video")
    edit_record(folder, "first_frame", 53)
    edit_record(folder, "label", 1)
    split = open_dataset(folder)["train"]
    assert (len(split[6].frames), split.label(2)) == (6, 1)


@pytest.mark.parametrize(
    "header",
    [b"[" * 200_000, b'{"samples": 1e400}', b'{"samples": -1, "frames": 0}', b"[]", b"{", b"\xff"],
)
def test_a_hostile_index_header(tmp_path, header):
    folder = write_shards(tmp_path, clips(1), kind="video")
    prefix = struct.pack("<8sII", b"ivvitidx", 1, len(header))
    (folder / "toy-train.index").write_bytes(prefix + header)
    with pytest.raises(InputError, match=r"train\.index: cannot be read as a sample index"):
        open_dataset(folder)["train"]


def test_a_hostile_manifest(tmp_path):
    (tmp_path / "dataset.json").write_text("[" * 200_000)
    with pytest.raises(InputError, match=r"dataset\.json: cannot be read: .*recursion"):
        open_dataset(tmp_path)


@pytest.mark.parametrize("field", ["index", "shards.0.file"])
@pytest.mark.parametrize("name", ["../x.tar", "/etc/passwd", "", "..", "a/b", "a\0"])
def test_a_manifest_that_names_a_place_outside_its_folder(tmp_path, field, name):
    folder = write_shards(tmp_path, clips(1), kind="video")
    document = json.loads((folder / "dataset.json").read_text())
    split = document["splits"]["train"]
    (split if field == "index" else split["shards"][0])[field.split(".")[-1]] = name
    (folder / "dataset.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match=rf"{field}: .* is not a file's name"):
        open_dataset(folder)
