"""The order of a clip's frames, changed to ask what a model makes of it (CoVeR, Table 2)."""

from dataclasses import replace
from hashlib import blake2b
from typing import Literal

import numpy as np

from shards.stream.clips import Frames
from shards.stream.dice import Dice
from shards.stream.views import ViewedSample

Order = Literal["normal", "reverse", "shuffle", "freeze"]
ORDERS: tuple[Order, ...] = ("normal", "reverse", "shuffle", "freeze")


def ordered(sample: ViewedSample, order: Order) -> ViewedSample:
    """Return a sample whose clips have their frames in another order; an image stays as it is.

    `reverse` plays clips backwards; `shuffle` gives each an order of its own, by the sample's key
    alone; `freeze` repeats the middle frame.
    """
    if order == "normal" or sample.kind == "image":
        return sample
    return replace(sample, clips=_rearranged(sample.clips, sample.key, order))


def _rearranged(clips: Frames, key: str, order: Order) -> Frames:
    count, length = clips.shape
    match order:
        case "reverse":
            return clips[:, ::-1].copy()
        case "freeze":
            middle = clips[:, length // 2]
            return np.repeat(middle[:, None], length, axis=1)
        case _:
            word = blake2b(key.encode(), digest_size=8).digest()
            turns = Dice(np.frombuffer(word, "<u8").astype(np.uint64)).throw("clip", clips.size)
            places = turns.reshape(count, length).argsort(axis=1, kind="stable")
            return np.take_along_axis(clips, places, axis=1)
