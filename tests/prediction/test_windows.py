"""Windows of long videos: each equals a video of its own, and no more than one is held."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from media import make_frames, write_video

from ivvit_cli.prediction import windows as module
from ivvit_cli.prediction.heads import Reading
from ivvit_cli.prediction.media import Media, stored_rate, view_file, view_media
from ivvit_cli.prediction.windows import Windows, cut_windows, view_windows
from shards.convert.picking import Picking
from shards.convert.video import read_video
from shards.errors import InputError
from shards.stream.views import Views, parse_views

LOSSLESS = ("-c:v", "ffv1")
UNIFORM = Reading(40, None, 4, "uniform", 4)
DENSE = Reading(40, None, 4, "dense", 4, stride=5)
SECONDS = Reading(40, None, 4, "window", 5, seconds=0.8)
READINGS = (UNIFORM, DENSE, SECONDS)


def view(path, windows, readings=READINGS, views="2x3"):
    return list(view_windows(path, readings, windows, views=parse_views(views), size=32))


@pytest.mark.parametrize(
    ("seconds", "hop", "spans"),
    [
        (2.0, 1.0, [(0, 2), (1, 3), (2, 4), (3, 4.6)]),
        (1.0, 2.0, [(0, 1), (2, 3), (4, 4.6)]),  # with gaps
        (2.3, 2.3, [(0, 2.3), (2.3, 4.6)]),  # the last one ends with the video
        (9.0, 3.0, [(0, 4.6)]),
    ],
)
def test_a_window_equals_a_video_of_its_own(tmp_path, seconds, hop, spans):
    frames, rate = make_frames(46), 10
    path = write_video(tmp_path / "long.mkv", frames, rate, args=LOSSLESS)
    found = view(path, Windows(seconds, hop))
    assert [(part.start, part.end) for part in found] == [pytest.approx(span) for span in spans]
    for part in found:
        first, last = round(part.start * rate), round(part.end * rate)
        own = write_video(tmp_path / "own.mkv", frames[first:last], rate, args=LOSSLESS)
        expected = view_file(own, "video", READINGS, views=Views(2, 3), size=32)
        for reading in READINGS:
            assert torch.equal(part.views[reading].frames, expected[reading].frames)
            assert np.array_equal(part.views[reading].clips, expected[reading].clips)
            assert torch.equal(part.views[reading].boxes, expected[reading].boxes)


@pytest.mark.parametrize(
    "pattern",
    ["UCF101/**/*.avi", "kinetics400/**/*.mp4", "something-something-v2/**/*.webm",
     "robustness/video/media3_hdr10-av1.mp4"],
)  # fmt: skip
def test_a_window_of_a_real_video_has_its_frames(real_data, pattern):
    path = next(iter(sorted(real_data.glob(pattern))))
    part = view(path, Windows(1, 1), [UNIFORM])[1]
    video = read_video(path, short_side=40, quality=4)
    second = round(video.fps)
    frames = dict(enumerate(video.frames[second : 2 * second]))
    size = video.width, video.height
    media = Media(path, "video", "jpg", frames, len(frames), stored_rate(video.fps), *size)
    expected = view_media(media, UNIFORM, views=parse_views("2x3"), size=32)
    assert torch.equal(part.views[UNIFORM].frames, expected.frames)


def test_a_file_that_does_not_say_how_long_it_is(tmp_path):
    path = write_video(tmp_path / "a.m2v", make_frames(46), 25, args=("-c:v", "mpeg2video"))
    whole = view_file(path, "video", [UNIFORM], views=Views(1, 1), size=32)[UNIFORM]
    (one,) = view(path, Windows(60, 60), [UNIFORM], "1x1")
    assert torch.equal(one.views[UNIFORM].frames, whole.frames)
    assert [part.end for part in view(path, Windows(1, 1), [UNIFORM])] == pytest.approx([1, 1.84])


def test_each_conversion_has_its_own_frames(tmp_path):
    path = write_video(tmp_path / "a.mkv", make_frames(40), 10, args=LOSSLESS)
    small, sparse = Reading(24, None, 3, "uniform", 4), Reading(40, 5.0, 3, "uniform", 4)
    found = view(path, Windows(2, 1), [UNIFORM, small, sparse], "1x1")
    assert [part.start for part in found] == [0, 1, 2]
    for part in found:
        sides = [min(part.views[each].frames.shape[1:3]) for each in (UNIFORM, small, sparse)]
        assert sides == [40, 24, 40]
        assert len(set(part.views[sparse].clips.flat)) == 4  # of ten frames


def test_a_video_of_any_size_is_made_small(tmp_path):
    path = write_video(tmp_path / "a.mkv", make_frames(5, 400, 500), 10, args=LOSSLESS)
    (part,) = view(path, Windows(1, 1), [Reading(None, None, 3, "uniform", 2)], "1x1")
    assert min(next(iter(part.views.values())).frames.shape[1:3]) == 320


def test_a_hop_shorter_than_a_frame(tmp_path):
    path = write_video(tmp_path / "a.mkv", make_frames(20), 10, args=LOSSLESS)
    with pytest.raises(InputError, match=r"a\.mkv: has 10 frames a second, too few for a hop of"):
        view(path, Windows(1, 0.09))


def test_windows_before_a_fault_are_kept(tmp_path):
    path = write_video(tmp_path / "a.mkv", make_frames(200), 10)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    parts = view_windows(path, [UNIFORM], Windows(1, 1), views=Views(1, 1), size=32)
    starts = [next(parts).start for _ in range(5)]
    assert starts == [0, 1, 2, 3, 4]
    with pytest.raises(InputError, match="is cut short or damaged"):
        list(parts)


PATH = Path("a.mkv")


def cut(picking, count, most=10**9):
    numbers = picking.numbers()
    frames = (b"%d" % next(numbers) for _ in range(count))
    return [(part.length, part.frames) for part in cut_windows(PATH, frames, picking, most=most)]


def test_the_frames_of_a_file_that_is_shorter_than_it_says():
    """Its last window has only those of a full one; each stands until the next."""
    picking = Picking(10, 10.0, [0, 5], tail=10**6)
    full = [(10, {0: b"0", 5: b"5"}), (10, {0: b"10", 5: b"15"})]
    assert cut(picking, 5) == [full[0], (10, {0: b"10", 5: b"15"}), (1, {0: b"20"})]
    last = {0: b"20", 1: b"20", 2: b"20", 3: b"20", 4: b"20", 5: b"25"}
    assert cut(picking, 6) == [*full, (6, last)]


def test_there_is_no_window_in_a_gap():
    assert [length for length, _ in cut(Picking(3, 10.0, [0, 2], tail=0), 9)] == [3]
    assert [length for length, _ in cut(Picking(3, 10.0, [0, 2], tail=0), 12)] == [3, 2]
    assert cut(Picking(3, 10.0, [0, 2], tail=0), 0) == []


@pytest.mark.parametrize(("hop", "windows"), [(25.0, 1199), (20_000.0, 2)])
def test_only_windows_that_are_not_complete_are_held(hop, windows):
    frames = (bytes(1000) for _ in range(30_000))
    tracemalloc.start()
    try:
        parts = sum(1 for _ in cut_windows(PATH, frames, Picking(60, hop, [0], 0), most=10**9))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert parts == windows
    assert peak < 1_000_000  # of 30 MB


def test_what_is_held_and_how_long_a_video_lasts_have_bounds(monkeypatch):
    with pytest.raises(InputError, match=r"a\.mkv: lasts more than 48 hours"):
        cut(Picking(10, 10.0, [0], tail=0), 1000, most=500)
    monkeypatch.setattr(module, "MAX_BYTES", 100)
    with pytest.raises(InputError, match=r"a\.mkv: a window's frames take more than 1 GiB"):
        cut(Picking(1000, 1000.0, [0], tail=0), 1000)
