"""Decoding agrees with PIL and refuses what is damaged, disguised or too large."""

import io
import struct
import zlib

import numpy as np
import pytest
import simplejpeg
from naive_shards import encode, picture
from PIL import Image

from shards.errors import InputError
from shards.stream.decode import decode_frame


def saved(image, **options):
    file = io.BytesIO()
    image.save(file, **options)
    return file.getvalue()


@pytest.mark.parametrize("codec", ["jpg", "png", "ppm"])
def test_pixels_are_those_of_pil(codec):
    data = encode(picture(37, 53, 1), codec)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    assert np.array_equal(decode_frame(data, codec), expected)


@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_grey_jpegs_become_rgb(options):
    grey = Image.fromarray(picture(20, 30, 2)).convert("L")
    data = saved(grey, format="JPEG", **options)
    pixels = decode_frame(data, "jpg")
    assert pixels.shape == (20, 30, 3)
    assert np.array_equal(pixels[..., 0], np.asarray(Image.open(io.BytesIO(data))))
    assert (pixels == pixels[..., :1]).all()


def test_grey_png_and_ppm_with_comments():
    grey = Image.fromarray(picture(5, 7, 3)).convert("L")
    assert decode_frame(saved(grey, format="PNG"), "png").shape == (5, 7, 3)
    data = b"P6 # a comment\n2\t1\n#another\n255\n" + bytes(range(6))
    assert decode_frame(data, "ppm").tolist() == [[[0, 1, 2], [3, 4, 5]]]


@pytest.mark.parametrize("codec", ["jpg", "png", "ppm"])
def test_half_a_file_is_refused(codec):
    data = encode(picture(64, 64, 4), codec)
    with pytest.raises(InputError, match=f"not a readable {codec}"):
        decode_frame(data[: len(data) // 2], codec)


@pytest.mark.parametrize("codec", ["jpg", "png", "ppm"])
@pytest.mark.parametrize("data", [b"", b"GIF89a", b"P6\n-1 4\n255\n", bytes(100)])
def test_other_formats_are_refused(codec, data):
    with pytest.raises(InputError):
        decode_frame(data, codec)


def test_a_codec_does_not_read_another_codec():
    with pytest.raises(InputError):
        decode_frame(encode(picture(8, 8, 5), "jpg"), "png")
    with pytest.raises(InputError):
        decode_frame(saved(Image.new("RGB", (8, 8)), format="TIFF"), "png")


def test_cmyk_jpegs_are_refused():
    with pytest.raises(InputError):
        decode_frame(saved(Image.new("CMYK", (8, 8)), format="JPEG"), "jpg")


@pytest.mark.parametrize("side", [6400, 40_000])  # 41 Mpx; more than PIL itself lets through
def test_more_than_forty_megapixels_are_refused_by_the_header(side):
    jpeg = simplejpeg.encode_jpeg(np.zeros((64, 64, 3), np.uint8))
    at = jpeg.index(b"\xff\xc0") + 5
    huge = jpeg[:at] + struct.pack(">HH", side, side) + jpeg[at + 4 :]
    header = struct.pack(">II5B", side, side, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + header
    png = b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    png += encode(picture(8, 8, 6), "png")[33:]
    for data, codec in [(huge, "jpg"), (png, "png"), (b"P6 %d %d 255 " % (side, side), "ppm")]:
        with pytest.raises(InputError, match=r"pixels are more than|decompression bomb"):
            decode_frame(data, codec)
