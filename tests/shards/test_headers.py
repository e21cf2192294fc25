"""The size of a frame, and whether the reader takes it, from its first bytes."""

import io
import struct

import numpy as np
import pytest
from media import make_frames
from PIL import Image

from shards.headers import frame_size
from shards.stream.decode import decode_frame


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def size(data: bytes, codec: str, length: int | None = None) -> tuple[int, int]:
    """Return the size of a frame of which no more than the header may be read."""
    return frame_size(lambda start, count: data[start : start + count], length or len(data), codec)


PICTURE = Image.fromarray(make_frames(1, 37, 53)[0])
KINDS = {"jpg": "JPEG", "png": "PNG", "ppm": "PPM"}


@pytest.mark.parametrize("codec", KINDS)
def test_the_header_is_enough(codec: str) -> None:
    data = saved(PICTURE, KINDS[codec])
    assert size(data, codec) == (53, 37)
    assert size(data[:1000] if codec == "jpg" else data[:64], codec, len(data)) == (53, 37)


def test_a_long_profile_does_not_hide_the_size() -> None:
    data = saved(PICTURE, "JPEG", icc_profile=bytes(300_000))
    assert size(data, "jpg") == (53, 37)


@pytest.mark.parametrize("codec", KINDS)
@pytest.mark.parametrize("data", [b"", b"GIF89a", b"P6\n-1 4\n255\n", b"P6 0 4 255 ", bytes(100)])
def test_what_is_no_header_is_refused(codec: str, data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        size(data, codec)


def test_what_the_reader_would_refuse_or_spoil_is_refused() -> None:
    with pytest.raises(ValueError, match="CMYK"):
        size(saved(Image.new("CMYK", (8, 8)), "JPEG"), "jpg")
    grey = saved(Image.fromarray(np.full((8, 8), 40_000, np.uint16)), "PNG")
    assert (decode_frame(grey, "png") == 255).all()  # and not 40_000 >> 8
    with pytest.raises(ValueError, match="16 bits"):
        size(grey, "png")


@pytest.mark.parametrize("side", [6400, 40_000])
def test_more_than_forty_megapixels_are_refused(side: int) -> None:
    jpeg = saved(PICTURE, "JPEG")
    at = jpeg.index(b"\xff\xc0") + 5
    jpeg = jpeg[:at] + struct.pack(">HH", side, side) + jpeg[at + 4 :]
    png = saved(PICTURE, "PNG")
    png = png[:16] + struct.pack(">II", side, side) + png[24:]
    for data, codec in ((jpeg, "jpg"), (png, "png")):
        with pytest.raises(ValueError, match="more than"):
            size(data, codec)
    with pytest.raises(ValueError, match="more than"):
        size(b"P6 %d %d 255\n" % (side, side), "ppm")


def test_a_cut_ppm_is_told_by_its_size() -> None:
    data = saved(PICTURE, "PPM")
    with pytest.raises(ValueError, match="do not fit"):
        size(data[:-1], "ppm")
