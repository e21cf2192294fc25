"""Views against a naive evaluation that decodes every frame of every view."""

import numpy as np
import pytest
import torch
from naive_shards import numbered, picture, write_shards
from torch.nn.functional import interpolate

from shards import open_dataset
from shards.errors import InputError, UsageError
from shards.stream.clips import place_clips
from shards.stream.crops import scaled_size
from shards.stream.decode import decode_frame
from shards.stream.views import ViewLoader, Views, parse_views, view_sample

GREY = {"mean": (0.0, 0.0, 0.0), "std": (1 / 255, 1 / 255, 1 / 255)}
CLIP = {"sample": "window", "length": 4, "seconds": 0.4}
SIZE = 32


def split_of(folder, sizes, kind="video", frames=20, **options):
    count = frames if kind == "video" else 1
    samples = [
        (f"s{i}", i % 2, [picture(h, w, 30 * i + t) for t in range(count)])
        for i, (h, w) in enumerate(sizes)
    ]
    return open_dataset(write_shards(folder, samples, kind=kind, **options))["train"]


def naive_views(sample, views):
    """Every view from the encoded frames, one after the other."""
    clips = place_clips(len(sample.frames), sample.fps, clips=views.clips, **CLIP)
    tall, wide = scaled_size(sample.height, sample.width, SIZE)
    out = []
    for clip in clips:
        for place in np.linspace(0, 1, views.crops) if views.crops > 1 else [0.5]:
            top, left = round((tall - SIZE) * place), round((wide - SIZE) * place)
            frames = []
            for number in clip:
                pixels = torch.from_numpy(decode_frame(sample.frames[number], sample.codec))
                planes = pixels.permute(2, 0, 1)[None].double()
                whole = interpolate(planes, (tall, wide), mode="bilinear", antialias=True)[0]
                frames.append(whole[:, top : top + SIZE, left : left + SIZE])
            out.append(torch.stack(frames))
    return torch.stack(out)


@pytest.mark.parametrize("text", ["1x1", "10x3", "2x5", "3x1"])
def test_video_views_equal_naive_ones(tmp_path, text):
    views = parse_views(text)
    split = split_of(tmp_path, [(48, 64), (64, 48), (40, 40), (33, 90)])
    loader = ViewLoader(split, views=views, size=SIZE, **CLIP)
    for i, sample in enumerate(loader):
        assert (sample.index, sample.key, sample.label) == (i, f"s{i}", i % 2)
        pixels = sample.render(SIZE, **GREY)
        assert pixels.shape == (views.clips * views.crops, 4, 3, SIZE, SIZE)
        assert (pixels - naive_views(split[i], views)).abs().max() < 0.01


def test_each_distinct_frame_is_decoded_once(tmp_path, monkeypatch):
    decoded = []

    def count(data, codec, *rest):
        decoded.append(data)
        return decode_frame(data, codec, *rest)

    monkeypatch.setattr("shards.stream.reader.decode_frame", count)
    split = split_of(tmp_path, [(48, 64)], frames=20)
    (sample,) = ViewLoader(split, views=Views(10, 3), size=SIZE, **CLIP)
    distinct = np.unique(place_clips(20, 25.0, clips=10, **CLIP))
    assert len(decoded) == len(set(decoded)) == len(distinct) == len(sample.frames)
    assert sample.clips.shape == (10, 4)


@pytest.mark.parametrize(
    ("size", "views", "count"),
    [((40, 40), "10x3", 1), ((48, 64), "10x3", 3), ((48, 64), "10x1", 1), ((32, 33), "1x3", 2)],
)
def test_images_are_seen_once_per_distinct_crop(tmp_path, size, views, count):
    split = split_of(tmp_path, [size], kind="image", codec="png")
    (sample,) = ViewLoader(split, views=parse_views(views), size=SIZE)
    assert sample.render(SIZE, **GREY).shape == (count, 3, SIZE, SIZE)


def test_small_images_are_enlarged(tmp_path):
    split = split_of(tmp_path, [(8, 8)], kind="image", codec="ppm")
    (sample,) = ViewLoader(split, views=Views(10, 3), size=SIZE)
    assert sample.frames.shape == (1, 8, 8, 3)
    planes = sample.frames.permute(0, 3, 1, 2).double()
    expected = interpolate(planes, (SIZE, SIZE), mode="bilinear", antialias=True)
    assert (sample.render(SIZE, **GREY) - expected).abs().max() < 0.01


def test_what_no_crop_sees_stays_behind(tmp_path):
    split = split_of(tmp_path, [(32, 200)])
    (one,) = ViewLoader(split, views=Views(1, 1), size=SIZE, **CLIP)
    (three,) = ViewLoader(split, views=Views(1, 3), size=SIZE, **CLIP)
    assert one.frames.shape[2] < 40
    assert three.frames.shape[2] == 200


def test_any_samples_in_any_order_with_any_threads(tmp_path):
    split = split_of(tmp_path, [(48, 64)] * 9)
    order = [7, 0, 3, 3, 8]
    seen = []
    for threads, prefetch in [(1, 0), (4, 9), (2, None)]:
        ahead = {"threads": threads, "prefetch": prefetch, "indices": order}
        loader = ViewLoader(split, views=Views(2, 1), size=SIZE, **ahead, **CLIP)
        seen.append([(sample.index, sample.frames) for sample in loader])
    for run in seen:
        assert [index for index, _ in run] == order
        assert all(torch.equal(a, b) for (_, a), (_, b) in zip(run, seen[0], strict=True))


def test_view_sample_reads_from_anywhere():
    asked = []

    def read(numbers):
        asked.append(list(numbers))
        return [numbered(40, 60, number) for number in numbers]

    sample = view_sample(
        index=5, key="k", label=-1, kind="video", frames=30, fps=10.0, width=60, height=40,
        read=read, views=Views(2, 1), size=SIZE, sample="uniform", length=3,
    )  # fmt: skip
    assert asked == [[2, 7, 12, 17, 22, 27]]
    shown = sample.render(SIZE, **GREY).mean((2, 3, 4)).round().int()
    assert shown.tolist() == [[2, 12, 22], [7, 17, 27]]


def test_a_cut_shard_is_named(tmp_path):
    split = split_of(tmp_path, [(48, 64)] * 4)
    (tmp_path / "toy-train-000001.tar").write_bytes(b"")
    with pytest.raises(InputError, match=r"toy-train-000001\.tar: sample s3"):
        list(ViewLoader(split, views=Views(1, 1), size=SIZE, **CLIP))


@pytest.mark.parametrize(
    "text", ["", "10", "0x1", "1x0", "x", "1x", "ax3", "1x3x1", "-1x3", "10 x 3"]
)
def test_views_that_are_none(text):
    with pytest.raises(UsageError, match="CLIPSxCROPS"):
        parse_views(text)


def test_views_are_written_as_they_are_read():
    assert str(parse_views("10x3")) == "10x3"
