"""Which frames of a video make a clip: pure functions from counts to frame numbers.

Four ways to sample, each from a paper. `frames` is the video's length, T the clip's.

- `window` (IV-ViT 5.3): a run of consecutive frames that lasts `seconds`, of which T are taken
  uniformly, both ends included. A shorter video is the window itself.
- `dense` (TokenShift 4.1; also MSCA and TimeSformer): T frames, `stride` apart, from some start;
  numbers past the end wrap round, so a short video loops.
- `uniform` (CoVeR 4.1): T frames evenly over the whole video; training draws one phase for all.
- `segment` (TSN 3.1; TimeSformer on SSv2): the video in T equal parts, one frame of each.

A video of fewer frames than T repeats frames (in order; `dense` loops); one frame is enough.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from shards.errors import InputError, UsageError
from shards.stream.dice import Dice, whole

Sampling = Literal["window", "dense", "uniform", "segment"]
Frames = NDArray[np.int64]


def sample_clips(
    frames: NDArray[np.integer],
    fps: NDArray[np.floating],
    *,
    sample: Sampling,
    length: int,
    seconds: float | None = None,
    stride: int | None = None,
    dice: Dice,
) -> Frames:
    """Draw the frame numbers (N, T) of N training clips.

    Args:
        frames: (N,) frames of the videos, at least 1.
        fps: (N,) frames per second; only `window` needs them.
        sample: one of `window`, `dense`, `uniform`, `segment` (see the module).
        length: T.
        seconds: the duration of a `window`.
        stride: source frames between two frames of a `dense` clip.
        dice: the source of randomness.

    Raises:
        UsageError: `seconds` or `stride` is missing.
        InputError: a video's rate is not known, but `window` needs it.
    """
    frames = frames.astype(np.int64)[:, None]  # (N, 1)
    match sample:
        case "window":
            window = _window_frames(frames, fps[:, None], seconds)
            return whole(dice.throw("clip"), frames - window + 1) + _spread(window, length)
        case "dense":
            step = _dense_stride(stride)
            starts = whole(dice.throw("clip"), np.maximum(frames - length * step + 1, 1))
            return _strided(frames, starts, length, step)
        case "uniform":
            return _segments(frames, length, dice.throw("clip"))
        case "segment":
            return _segments(frames, length, dice.throw("clip", length))


def place_clips(
    frames: int,
    fps: float,
    *,
    clips: int,
    sample: Sampling,
    length: int,
    seconds: float | None = None,
    stride: int | None = None,
) -> Frames:
    """Place K test-time clips over a video, always the same: frame numbers (K, T).

    `window` clips are placed evenly from the first frame to the last, one alone in the centre.
    `uniform` and `segment` clips take the phases (k + 1/2) / K of each T-th of the video, one alone
    its midpoints. `dense` starts follow TokenShift's released code: int(k * frames / K), held back
    where the clip would reach past the end; 0 for a video that is not longer than T * stride.

    Raises:
        UsageError: `seconds` or `stride` is missing.
        InputError: the video's rate is not known, but `window` needs it.
    """
    turns = np.arange(clips)[:, None]  # (K, 1)
    match sample:
        case "window":
            window = _window_frames(np.array([[frames]]), np.array([[fps]]), seconds)
            room = frames - window
            starts = turns * room // (clips - 1) if clips > 1 else room // 2
            return starts + _spread(window, length)
        case "dense":
            step = _dense_stride(stride)
            starts = np.minimum(turns * frames // clips, _last_dense_start(frames, length, step))
            return _strided(frames, starts, length, step)
        case "uniform" | "segment":
            return _segments(frames, length, (turns + 0.5) / clips)


def _window_frames(
    frames: NDArray[np.int64], fps: NDArray[np.floating], seconds: float | None
) -> NDArray[np.int64]:
    """Return how many consecutive frames, at most all, last `seconds`."""
    if seconds is None:
        raise UsageError("a `window` clip needs `seconds`")
    if not (fps > 0).all():
        raise InputError("its frame rate is not known, so a window in seconds cannot be cut")
    return np.clip(np.rint(seconds * fps.astype(np.float64)), 1, frames).astype(np.int64)


def _spread(window: NDArray[np.int64], length: int) -> Frames:
    """Return (N, T) numbers from 0 to window - 1, both included, of windows (N, 1).

    One alone is in the middle.
    """
    if length == 1:
        return (window - 1) // 2
    return np.arange(length) * (window - 1) // (length - 1)


def _dense_stride(stride: int | None) -> int:
    if stride is None:
        raise UsageError("a `dense` clip needs `stride`")
    return stride


def _strided(frames: Frames | int, starts: Frames, length: int, stride: int) -> Frames:
    return (starts + np.arange(length) * stride) % frames


def _last_dense_start(frames: int, length: int, stride: int) -> int:
    """Return TokenShift's bound; its code lets stride 1 wrap round by one frame."""
    bound = frames - length * stride + 1
    return 0 if bound <= 1 else min(bound, frames - (length - 1) * stride - 1)


def _segments(frames: Frames | int, length: int, phases: NDArray[np.float64]) -> Frames:
    """Return (N, T), the frames at `phases` (N, T) or (N, 1) in [0, 1) of T equal parts."""
    numbers = ((np.arange(length) + phases) * frames / length).astype(np.int64)
    return np.minimum(numbers, frames - 1)  # a phase next to 1 can round up
