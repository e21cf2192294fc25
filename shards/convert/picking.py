"""Which frames of a video its windows need: ffmpeg's expression, and the same in numbers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from math import floor

MOST_TERMS = 256  # of an expression, which is evaluated for every frame
_GROUP = 16  # terms in brackets: ffmpeg takes a hundred in a row


@dataclass(frozen=True)
class Picking:
    """Windows of equal length over a video, and the frames that each of them needs.

    Attributes:
        length: frames of a window.
        hop: frames from one window's start to the next one's; at least 1, not always whole.
        offsets: the frames needed of every window, ascending, counted from its start.
        tail: every frame from this one on is needed, because the video's end may cut a window,
            whose needs are others.
    """

    length: int
    hop: float
    offsets: Sequence[int]
    tail: int

    def start(self, window: int) -> int:
        """Return the first frame of a window."""
        return floor(window * self.hop + 0.5)

    @property
    def expression(self) -> str:
        """The choice as ffmpeg's `select` takes it, in the very arithmetic of `start`.

        A frame `n` is needed if some window starts at m = n - offset. No other than window
        k = floor(m / hop + 1/2) can, as a start is off by at most half a frame.
        """
        if len(self.offsets) > MOST_TERMS:
            return "1"
        hop = repr(float(self.hop))
        terms = [
            f"gte(n,{offset})*eq(floor(floor((n-{offset})/{hop}+0.5)*{hop}+0.5),n-{offset})"
            for offset in self.offsets
        ]
        groups = (terms[place : place + _GROUP] for place in range(0, len(terms), _GROUP))
        return "+".join((*(f"({'+'.join(group)})" for group in groups), f"gte(n,{self.tail})"))

    def numbers(self) -> Iterator[int]:
        """Yield the numbers of the frames that `expression` picks, without end."""
        if len(self.offsets) > MOST_TERMS:
            yield from count()
        needed: set[int] = set()
        for window in count():
            start, following = self.start(window), self.start(window + 1)
            needed |= {start + offset for offset in self.offsets}
            for number in sorted(number for number in needed if number < following):
                if number < self.tail:
                    yield number
            if following >= self.tail:
                break
            needed = {number for number in needed if number >= following}
        yield from count(self.tail)
