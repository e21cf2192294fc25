"""Frame rate and evenness of presentation times."""

import re
from bisect import bisect_left

SECOND = 1_000_000  # presentation times are whole microseconds

_STAMP = re.compile(rb"^frame:\d+ +pts:(-?\d+)", re.MULTILINE)


def parse_times(text: bytes) -> list[int]:
    """Return the times, in microseconds, that ffmpeg's `metadata=print` wrote, one per frame."""
    return [int(number) for number in _STAMP.findall(text)]


def frame_rate(times: list[int]) -> float:
    """Return the average frames per second; a single frame counts as one second.

    Raises:
        ValueError: the times do not advance.
    """
    if len(times) == 1:
        return 1.0
    duration = max(times) - min(times)
    if duration <= 0:
        raise ValueError("its presentation times do not advance")
    return (len(times) - 1) * SECOND / duration


def is_even(times: list[int]) -> bool:
    """Return whether each frame is within half a frame interval of its place at an even rate."""
    interval = (times[-1] - times[0]) / max(1, len(times) - 1)
    return all(
        abs(time - times[0] - place * interval) <= interval / 2 for place, time in enumerate(times)
    )


def resample(times: list[int]) -> list[int]:
    """Return, for as many even steps as there are frames, the frame nearest in time to each.

    At the average rate a video keeps its number of frames and its duration; a
    frame that was shown long is repeated, and of several within one step one is kept.
    """
    order = sorted(range(len(times)), key=times.__getitem__)
    ascending = [times[place] for place in order]
    interval = (ascending[-1] - ascending[0]) / max(1, len(times) - 1)
    moments = [ascending[0] + place * interval for place in range(len(times))]
    return [order[_nearest(ascending, moment)] for moment in moments]


def _nearest(times: list[int], moment: float) -> int:
    after = min(bisect_left(times, moment), len(times) - 1)
    before = max(after - 1, 0)
    return before if moment - times[before] <= times[after] - moment else after
