"""Frame rate, evenness and resampling, against a naive search."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shards.convert.timing import SECOND, frame_rate, is_even, parse_times, resample

TIMES = st.lists(st.integers(0, 10 * SECOND), min_size=2, max_size=40, unique=True).map(sorted)


def test_times_are_read_from_what_ffmpeg_prints() -> None:
    text = b"frame:0    pts:-40000  pts_time:-0.04\nivvit=0\nframe:1    pts:0       pts_time:0\n"
    assert parse_times(text) == [-40000, 0]


def test_the_rate_is_frames_over_duration() -> None:
    assert frame_rate([0, 40_000, 80_000]) == 25.0
    assert frame_rate([7 * SECOND]) == 1.0


def test_times_that_do_not_advance_have_no_rate() -> None:
    with pytest.raises(ValueError, match="do not advance"):
        frame_rate([5, 5, 5])


def test_rounding_to_milliseconds_is_even_and_a_lost_frame_is_not() -> None:
    steady = [round(n * 1000 / 30) * 1000 for n in range(60)]
    assert is_even(steady)
    assert not is_even([0, *(time + 40_000 for time in range(40_000, 400_000, 40_000))])


@given(TIMES)
def test_resampling_takes_the_nearest_frame_for_every_even_step(times: list[int]) -> None:
    step = (times[-1] - times[0]) / (len(times) - 1)
    chosen = resample(times)
    assert len(chosen) == len(times)
    for place, frame in enumerate(chosen):
        moment = times[0] + place * step
        assert abs(times[frame] - moment) == min(abs(time - moment) for time in times)


@given(TIMES, st.randoms(use_true_random=False))
def test_frames_that_come_out_of_order_are_put_in_order(times, random) -> None:
    places = list(range(len(times)))
    random.shuffle(places)
    mixed = [times[place] for place in places]
    assert [mixed[place] for place in resample(mixed)] == [
        times[place] for place in resample(times)
    ]
    assert frame_rate(mixed) == frame_rate(times)


@given(st.integers(1, 200), st.integers(1000, SECOND))
def test_an_even_video_is_left_alone(count: int, step: int) -> None:
    times = [n * step for n in range(count)]
    assert is_even(times)
    assert resample(times) == list(range(count))
