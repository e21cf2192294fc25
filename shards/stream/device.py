"""Frames decoded on a GPU: JPEGs many at a time by nvJPEG, all others by the CPU's decoder."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import simplejpeg
import torch
from torch import Tensor

from shards.errors import EnvironmentFault, InputError
from shards.headers import frame_size
from shards.index import CODECS
from shards.stream.decode import decode_frame
from shards.stream.draws import Draws
from shards.stream.reader import Split

DecodeJpegs = Callable[[list[bytes]], list[Tensor]]

_END = b"\xff\xd9"  # of a JPEG
_TOGETHER = 256  # JPEGs of a call, which bounds the memory for whole frames


@dataclass(frozen=True)
class Encoded:
    """A frame as it is stored, and the sample that it is of."""

    split: Split
    index: int
    data: bytes


class DeviceDecoder:
    """Decodes frames to tensors on a device; safe to use from many threads.

    Args:
        device: where the frames are needed.
        decode_jpegs: turns encoded JPEGs into RGB, uint8 (3, H, W) on the device, all at once; by
            default nvJPEG, through torchcodec.

    Raises:
        EnvironmentFault: the device is no GPU, torchcodec is not there or decodes nothing, and
            nothing else was given that decodes.
    """

    def __init__(self, device: torch.device | str, decode_jpegs: DecodeJpegs | None = None) -> None:
        self.device = torch.device(device)
        if decode_jpegs is None and self.device.type != "cuda":
            raise EnvironmentFault(
                f"frames cannot be decoded on a GPU: this runs on {self.device}",
                hint="loader.decode=cpu",
            )
        self._decode_jpegs = decode_jpegs or _nvjpeg(self.device)

    def empty(self, shape: tuple[int, ...]) -> Tensor:
        """Return uint8 memory on the device."""
        return torch.empty(shape, dtype=torch.uint8, device=self.device)

    def decode(self, frames: Sequence[Encoded]) -> list[Tensor]:
        """Decode frames to uint8 (H, W, 3) on the device, in their order.

        What nvJPEG refuses, and a JPEG that seems to be cut short, is decoded by the CPU, which is
        strict and tells what is wrong.

        Raises:
            InputError: a frame is damaged, or not of the recorded size; names its sample.
        """
        decoded: dict[int, Tensor] = {}
        jpegs = [
            k
            for k, frame in enumerate(frames)
            if _check(frame) == "jpg" and frame.data.endswith(_END)
        ]
        for start in range(0, len(jpegs), _TOGETHER):
            chosen = jpegs[start : start + _TOGETHER]
            together = self._together([frames[k] for k in chosen])
            decoded.update(zip(chosen, together, strict=True))
        return [
            decoded[k] if k in decoded else self._alone(frame) for k, frame in enumerate(frames)
        ]

    def _together(self, frames: list[Encoded]) -> list[Tensor]:
        try:
            decoded = self._decode_jpegs([frame.data for frame in frames])
            return [planes.permute(1, 2, 0) for planes in decoded]
        except torch.OutOfMemoryError:
            raise
        except RuntimeError:
            return [self._alone(frame) for frame in frames]

    def _alone(self, frame: Encoded) -> Tensor:
        with frame.split.naming(frame.index):
            codec = CODECS[frame.split.samples[frame.index]["codec"]]
            return torch.tensor(decode_frame(frame.data, codec), device=self.device)


def _check(frame: Encoded) -> str:
    """Return a frame's codec; raise an InputError if its header says other than the index."""
    record, data = frame.split.samples[frame.index], frame.data
    codec: str = CODECS[record["codec"]]
    with frame.split.naming(frame.index):
        found = frame_size(lambda start, size: data[start : start + size], len(data), codec)
        if found != (record["width"], record["height"]):
            raise InputError(f"a frame is {found} wide and high, not as recorded")
    return codec


def _nvjpeg(device: torch.device) -> DecodeJpegs:
    try:
        from torchcodec.decoders import decode_jpeg
    except (ImportError, OSError, RuntimeError) as error:  # without FFmpeg it is a RuntimeError
        reason = str(error).partition("\n")[0]
        raise EnvironmentFault(
            f"frames cannot be decoded on a GPU: torchcodec cannot be loaded: {reason}",
            hint="pip install 'ivvit[gpu]', or loader.decode=cpu",
        ) from None
    decode = partial(decode_jpeg, mode="RGB", device=device)
    try:  # here, as what it refuses later is left to the CPU, slowly and without a word
        decode([simplejpeg.encode_jpeg(np.zeros((16, 16, 3), np.uint8))])
    except RuntimeError as error:
        reason = str(error).partition("\n")[0]
        raise EnvironmentFault(
            f"frames cannot be decoded on a GPU: nvJPEG fails: {reason}", hint="loader.decode=cpu"
        ) from None
    return decode


def read_draws(split: Split, draws: Draws) -> list[list[Encoded]]:
    """Read the distinct frames of each draw, by ascending number."""
    return [
        [
            Encoded(split, draw.index, data)
            for data in split.read(draw.index, sorted(set(draw.frames.tolist())))
        ]
        for draw in draws
    ]


def fill_slots(
    decoder: DeviceDecoder,
    draws: Draws,
    encoded: Sequence[Sequence[Encoded]],
    slots: Tensor,
) -> None:
    """Decode draws, as `read_draws` gave them, and cut them into `slots` (N, T, H, W, 3).

    What is beside a cut is 0, and so are the slots beyond the draws.
    """
    frames = iter(decoder.decode([frame for each in encoded for frame in each]))
    slots.zero_()
    for draw, each, slot in zip(draws, encoded, slots[: len(draws)], strict=True):
        top, left, height, width = draw.crop.cut
        cuts = [next(frames)[top : top + height, left : left + width] for _ in each]
        rows = torch.tensor(sorted(set(draw.frames.tolist())))
        places = torch.searchsorted(rows, torch.from_numpy(draw.frames))
        for place, row in enumerate(places.tolist()):
            slot[place, :height, :width] = cuts[row]
