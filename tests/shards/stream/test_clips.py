"""Clip sampling against the papers' formulas, written out naively."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shards.errors import InputError, UsageError
from shards.stream.clips import place_clips, sample_clips
from shards.stream.dice import Dice, mix

KINDS = {
    "window": {"seconds": 2.67},
    "dense": {"stride": 4},
    "uniform": {},
    "segment": {},
}


def sampled(frames, fps=25.0, count=1, seed=0, **keys):
    """Clips (count, T) of videos of `frames` frames."""
    dice = Dice(mix(np.arange(seed, seed + count, dtype=np.uint64)))
    return sample_clips(np.full(count, frames), np.full(count, fps), dice=dice, **keys)


@pytest.mark.parametrize("sample", KINDS)
@given(frames=st.integers(1, 400), length=st.integers(1, 32), clips=st.integers(1, 12))
def test_frames_lie_within_any_video(sample, frames, length, clips):
    keys = {"sample": sample, "length": length, **KINDS[sample]}
    clip = sampled(frames, seed=frames, **keys)[0]
    placed = place_clips(frames, 25.0, clips=clips, **keys)
    assert clip.shape == (length,)
    assert placed.shape == (clips, length)
    assert clip.dtype == placed.dtype == np.int64
    for numbers in (clip, placed):
        assert numbers.min() >= 0
        assert numbers.max() < frames
    if sample != "dense":  # time does not run backwards
        assert (np.diff(clip) >= 0).all()
        assert (np.diff(placed, axis=1) >= 0).all()
        assert (np.diff(placed, axis=0) >= 0).all()


@pytest.mark.parametrize("sample", KINDS)
def test_a_video_of_one_frame_is_that_frame(sample):
    keys = {"sample": sample, "length": 8, **KINDS[sample]}
    assert sampled(1, **keys).tolist() == [[0] * 8]
    assert place_clips(1, 25.0, clips=3, **keys).tolist() == [[0] * 8] * 3


def test_window_lasts_its_seconds_and_starts_anywhere():
    starts = set()
    for clip in sampled(80, count=300, sample="window", length=16, seconds=2.67):
        assert clip[-1] - clip[0] == 66  # 2.67 s at 25 fps are 67 frames
        assert set(np.diff(clip)) <= {4, 5}
        starts.add(int(clip[0]))
    assert starts == set(range(80 - 67 + 1))


def test_window_counts_seconds_not_frames():
    slow = place_clips(600, 10.0, clips=1, sample="window", length=5, seconds=2.0)
    fast = place_clips(600, 60.0, clips=1, sample="window", length=5, seconds=2.0)
    assert np.ptp(slow) == 19
    assert np.ptp(fast) == 119


def test_a_short_video_is_the_whole_window():
    (clip,) = sampled(10, sample="window", length=4, seconds=2.67)
    assert clip.tolist() == [0, 3, 6, 9]
    repeated = place_clips(3, 25.0, clips=1, sample="window", length=6, seconds=2.67)
    assert repeated.tolist() == [[0, 0, 0, 1, 1, 2]]


def test_window_clips_run_from_the_first_frame_to_the_last():
    placed = place_clips(100, 10.0, clips=10, sample="window", length=16, seconds=2.0)
    assert placed[0, 0] == 0
    assert placed[-1, -1] == 99
    assert set(np.diff(placed[:, 0])) <= {8, 9}
    centre = place_clips(100, 10.0, clips=1, sample="window", length=16, seconds=2.0)
    assert (centre[0, 0], centre[0, -1]) == (40, 59)


def tokenshift_test_clips(frames, length, stride, clips):
    """TokenShift's released read_clip, with its bound and its modulo, line by line."""
    bound = max(frames - length * stride + 1, 1)
    rows = []
    for k in range(clips):
        start = min(max(int(k * (1.0 * frames / clips)), 0), bound)
        start = 0 if bound == 1 else start
        rows.append([(start + t * stride) % frames for t in range(length)])
    return rows


@given(
    frames=st.integers(1, 400),
    length=st.sampled_from([4, 8, 16]),
    stride=st.integers(2, 32),
    clips=st.sampled_from([1, 2, 4, 8]),  # powers of two: exact in the paper's floats too
)
def test_dense_test_clips_are_tokenshifts(frames, length, stride, clips):
    placed = place_clips(frames, 0.0, clips=clips, sample="dense", length=length, stride=stride)
    assert placed.tolist() == tokenshift_test_clips(frames, length, stride, clips)


def test_dense_with_stride_one_does_not_wrap_at_the_end():
    placed = place_clips(20, 0.0, clips=10, sample="dense", length=8, stride=1)
    assert placed[-1].tolist() == list(range(12, 20))


def test_dense_loops_over_short_videos():
    (clip,) = sampled(10, 0.0, sample="dense", length=8, stride=3)
    assert clip.tolist() == [0, 3, 6, 9, 2, 5, 8, 1]


def test_dense_starts_anywhere_it_fits():
    starts = sampled(40, 0, count=300, sample="dense", length=8, stride=4)[:, 0]
    assert set(starts.tolist()) == set(range(9))


def test_uniform_draws_one_phase_and_tests_the_midpoints():
    (clip,) = sampled(160, 0, sample="uniform", length=16)
    assert set(np.diff(clip)) == {10}
    midpoints = place_clips(160, 0, clips=1, sample="uniform", length=16)
    assert midpoints.tolist() == [list(range(5, 160, 10))]
    two = place_clips(160, 0, clips=2, sample="uniform", length=4)
    assert two.tolist() == [[10, 50, 90, 130], [30, 70, 110, 150]]


def test_segment_draws_one_frame_of_each_part():
    seen = [set() for _ in range(4)]
    for clip in sampled(20, 0, count=300, sample="segment", length=4):
        for part, number in enumerate(clip):
            seen[part].add(int(number))
    assert seen == [set(range(5 * part, 5 * part + 5)) for part in range(4)]


def test_phases_next_to_one_stay_within_the_video():
    class Last(Dice):
        def throw(self, purpose, count=1):
            return np.full((59, count), np.nextafter(1, 0))

    frames = np.arange(1, 60)
    for sample in KINDS:
        keys = {"sample": sample, "length": 16, **KINDS[sample]}
        clips = sample_clips(frames, np.full(59, 25.0), dice=Last(np.zeros(1, np.uint64)), **keys)
        assert (clips.max(1) < frames).all()


def test_clips_of_different_videos_are_those_of_each():
    frames, fps = np.array([30, 7, 200, 64]), np.array([25.0, 10.0, 29.97, 5.0])
    for sample in KINDS:
        keys = {"sample": sample, "length": 8, **KINDS[sample]}
        starts = mix(np.arange(4, dtype=np.uint64))
        together = sample_clips(frames, fps, dice=Dice(starts), **keys)
        for k, clip in enumerate(together):
            one = slice(k, k + 1)
            alone = sample_clips(frames[one], fps[one], dice=Dice(starts[one]), **keys)
            assert np.array_equal(alone[0], clip)


@pytest.mark.parametrize("sample", ["window", "dense"])
def test_what_a_sampling_needs_is_asked_for(sample):
    with pytest.raises(UsageError, match=sample):
        place_clips(10, 25.0, clips=1, sample=sample, length=4)
    with pytest.raises(UsageError, match=sample):
        sampled(10, sample=sample, length=4)


def test_a_window_needs_a_frame_rate():
    with pytest.raises(InputError, match="frame rate"):
        place_clips(10, 0.0, clips=1, sample="window", length=4, seconds=1.0)
