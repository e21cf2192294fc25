"""Encoded frame to pixels: strict, its header read first, with a cap on the pixels."""

import io

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from shards.errors import InputError
from shards.headers import check_colours, check_scans, check_size, ppm_header

# PIL reports a bad PNG as SyntaxError
_FAULTS = (ValueError, OSError, SyntaxError, Image.DecompressionBombError)

Pixels = NDArray[np.uint8]


def decode_frame(data: bytes, codec: str, room: Pixels | None = None) -> Pixels:
    """Decode one frame to RGB (H, W, 3); a grey one has three equal channels.

    Args:
        data: the encoded frame.
        codec: one of `shards.index.CODECS`; the content is never sniffed.
        room: memory from `room_for_frames`, of the size of the frame, that the result may lie in;
            by default its own.

    Raises:
        InputError: the data is damaged, of another format, or holds more than 40 megapixels.
    """
    try:
        if codec == "jpg":
            return _decode_jpeg(data, room)
        return _decode_png(data) if codec == "png" else _decode_ppm(data)
    except _FAULTS as error:
        raise InputError(f"not a readable {codec} frame: {error}") from None


def _decode_jpeg(data: bytes, room: Pixels | None) -> Pixels:
    height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
    check_size(width, height)
    check_colours(colours)
    check_scans(data, width, height)
    if room is not None and room.size != height * width * 3:
        raise ValueError(f"its size is {width}x{height}")
    pixels: Pixels = simplejpeg.decode_jpeg(data, "RGB", buffer=room)  # strict by default
    return pixels


def _decode_png(data: bytes) -> Pixels:
    with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
        check_size(*image.size)
        return np.asarray(image.convert("RGB"))


def _decode_ppm(data: bytes) -> Pixels:
    header = ppm_header(data)
    width, height = int(header[1]), int(header[2])
    check_size(width, height)
    pixels = np.frombuffer(data, np.uint8, offset=header.end())
    return pixels.reshape(height, width, 3)
