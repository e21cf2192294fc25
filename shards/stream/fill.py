"""Filling a batch: its frames are read shard by shard, and decoded in place where they fit."""

from itertools import islice

import numpy as np
from numpy.typing import NDArray

from shards.errors import InputError
from shards.index import CODECS
from shards.stream.decode import Pixels, decode_frame
from shards.stream.draws import Draws, frame_sizes
from shards.stream.reader import Split
from shards.stream.room import room_for_frames


def fill(split: Split, draws: Draws, slots: Pixels) -> None:
    """Decode samples into `slots` (N, T, H, W, 3); what is beside a cut is 0.

    Raises:
        InputError: a sample cannot be read; names dataset, shard and key.
    """
    encoded = _read(split, draws)
    heights, widths = frame_sizes(draws.records)
    room = room_for_frames(3 * int((heights * widths).max()))
    codecs = [CODECS[code] for code in draws.records["codec"].tolist()]
    sizes = np.stack([heights, widths], 1).tolist()
    rows = zip(draws.indices.tolist(), codecs, sizes, draws.crops.cuts.tolist(), strict=True)
    same = draws.frames[:, :, None] == draws.frames[:, None]  # short videos repeat frames
    firsts = same.argmax(2).tolist()
    for k, (index, codec, size, cut) in enumerate(rows):
        try:
            for place, (first, data) in enumerate(zip(firsts[k], encoded[k], strict=True)):
                if first == place:
                    _decode(data, codec, size, cut, room, slots[k, place])
                else:
                    slots[k, place] = slots[k, first]
        except Exception as error:
            raise split.fault(index, error) from error


def _read(split: Split, draws: Draws) -> list[list[bytes]]:
    """Return the encoded frames of each sample; what lies in one shard is read together."""
    places = split.places_of(draws.records, draws.frames)  # (N, T)
    shards = draws.records["shard"]
    encoded: list[list[bytes]] = [[]] * len(draws)
    for shard in np.unique(shards).tolist():
        here = np.flatnonzero(shards == shard)
        frames = iter(_read_shard(split, shard, draws.indices[here], places[here]))
        for k in here.tolist():
            encoded[k] = list(islice(frames, places.shape[1]))
    return encoded


def _read_shard(
    split: Split, shard: int, indices: NDArray[np.int64], places: NDArray[np.void]
) -> list[bytes]:
    try:
        return split.read_places(shard, places.ravel())
    except Exception as error:
        for index, where in zip(indices.tolist(), places, strict=True):
            with split.naming(index):
                split.read_places(shard, where)
        raise split.fault(int(indices[0]), error) from error


def _decode(
    data: bytes, codec: str, size: list[int], cut: list[int], room: Pixels, target: Pixels
) -> None:
    """Decode a frame of `size` and leave its cut in `target` (H, W, 3)."""
    tall, wide, _ = target.shape
    fits = size == [tall, wide] == cut[2:]
    frame = decode_frame(data, codec, target.reshape(-1) if fits else room[: 3 * size[0] * size[1]])
    if frame.shape != (*size, 3):
        raise InputError(f"a frame is {frame.shape[:2]} high and wide, not {tuple(size)}")
    if fits and codec == "jpg":  # which lies where it was told to
        return
    top, left, height, width = cut
    target[:height, :width] = frame[top : top + height, left : left + width]
    target[height:] = 0
    target[:height, width:] = 0
