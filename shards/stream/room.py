"""Memory for decoded frames, in a file without torch, which opening shards does without."""

import numpy as np
from numpy.typing import NDArray


def room_for_frames(size: int) -> NDArray[np.uint8]:
    """Return `size` bytes for frames to be decoded into.

    They do not start at a multiple of 32: libjpeg-turbo writes to aligned rows past the caches,
    which makes decoding a frame of 320x240 5 % slower, and 12 % if it is cut right afterwards.
    """
    room = np.empty(size + 48, np.uint8)
    start = -room.ctypes.data % 32 + 16
    return room[start : start + size]
