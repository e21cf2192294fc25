"""Peers that read chosen frames out of a source video, each on one thread.

A reader turns a file and ascending frame numbers into uint8 frames (T, 3, H, W).
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

Reader = Callable[[Path, Sequence[int]], Tensor]


def find_readers(video: Path) -> dict[str, Reader]:
    """Return the readers that work here; say of the others why they are not compared."""
    found = {}
    for name, reader in {"torchcodec": torchcodec, "decord": decord, "PyAV": pyav}.items():
        try:
            reader(video, [0, 1])
        except (ImportError, RuntimeError) as error:
            print(f"not compared: {name}: {str(error).strip().splitlines()[0][:100]}")
        else:
            found[name] = reader
    return found


def torchcodec(path: Path, numbers: Sequence[int]) -> Tensor:
    """Read with torchcodec, without a scan of the whole file first."""
    from torchcodec.decoders import VideoDecoder

    decoder = VideoDecoder(str(path), num_ffmpeg_threads=1, seek_mode="approximate")
    frames: Tensor = decoder.get_frames_at(list(numbers)).data
    return frames


def decord(path: Path, numbers: Sequence[int]) -> Tensor:
    """Read with decord."""
    from decord import VideoReader

    frames = VideoReader(str(path), num_threads=1).get_batch(list(numbers)).asnumpy()
    return torch.from_numpy(frames).permute(0, 3, 1, 2)


def pyav(path: Path, numbers: Sequence[int]) -> Tensor:
    """Read with PyAV: seek to before the first frame, then decode up to the last."""
    import av

    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_count = 1
        step = 1 / (stream.average_rate * stream.time_base)  # ticks from frame to frame
        container.seek(int(numbers[0] * step), stream=stream)
        wanted, frames = set(numbers), {}
        for frame in container.decode(stream):
            number = round(frame.pts / step)
            if number in wanted:
                frames[number] = frame.to_ndarray(format="rgb24")
            if number >= numbers[-1]:
                break
    last = next(iter(frames.values()))
    clip = [last := frames.get(number, last) for number in numbers]  # some videos skip numbers
    return torch.from_numpy(np.stack(clip)).permute(0, 3, 1, 2)
