"""One image file or array to the bytes that a shard stores."""

import io
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from shards.convert.errors import BadMedia, why_unreadable
from shards.headers import check_scans

Codec = Literal["jpg", "png", "ppm"]

FORMATS = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM")
MAX_PIXELS = 40_000_000
MAX_SIDE = 65_535  # pixels, as in a JPEG
MAX_BYTES = 512 << 20  # of a file; 40 Mpx of 16-bit RGBA are 320 MB

# Pillow warns of odd metadata, which is not kept, and of sizes, which are checked here.
warnings.filterwarnings("ignore", module=r"PIL\.")

_JPEG = ("JPEG", "MPO")  # MPO: a JPEG with more pictures behind the first
_NESTED_JPEG = ("jpeg", "tiff_jpeg")  # in a TIFF, where its scans cannot be counted
_ORIENTATION = 0x0112
_Turn = Image.Transpose
_TURNS = {  # 1 is upright; other values mean nothing
    2: _Turn.FLIP_LEFT_RIGHT,
    3: _Turn.ROTATE_180,
    4: _Turn.FLIP_TOP_BOTTOM,
    5: _Turn.TRANSPOSE,
    6: _Turn.ROTATE_270,
    7: _Turn.TRANSVERSE,
    8: _Turn.ROTATE_90,
}
_JPEG_QUALITY = 95  # of images that --short-side made smaller


@dataclass(frozen=True)
class EncodedImage:
    """An image as it is stored: the bytes of a file, its codec, and its size in pixels."""

    data: bytes
    codec: Codec
    width: int
    height: int


def read_image(path: Path, *, short_side: int | None = None) -> EncodedImage:
    """Read an image file and encode it as `encode_image` does.

    Raises:
        InputError: the file is missing, no image of an allowed format, damaged, or too large.
    """
    try:
        return encode_image(read_file(path), short_side=short_side)
    except ValueError as error:
        raise BadMedia(path, str(error)) from None


def read_file(path: Path) -> bytes:
    """Return the content of an image file.

    Raises:
        InputError: there is no such plain file, it cannot be read, or has over 512 MiB.
        EnvironmentFault: the machine lacks something, such as room for more open files.
    """
    try:
        if not path.is_file():  # a pipe would be waited for
            raise BadMedia(path, "no such file")
        if path.stat().st_size > MAX_BYTES:
            raise BadMedia(path, f"has more than {MAX_BYTES >> 20} MiB")
        return path.read_bytes()
    except OSError as error:
        raise BadMedia(path, why_unreadable(path, error)) from None


def encode_image(data: bytes, *, short_side: int | None = None) -> EncodedImage:
    """Return a JPEG, or an 8-bit RGB or grey PNG, untouched, and any other image as RGB PNG.

    Pictures are turned upright by their EXIF orientation. The shorter side is reduced to
    `short_side` pixels, never enlarged; None leaves the size alone.

    Raises:
        ValueError: the data is no image of an allowed format, is damaged, or has over 40 Mpx.
    """
    with _open(data) as image:
        lossy = image.format in _JPEG
        if lossy:
            check_scans(data, *image.size)
        else:  # before anything else: Pillow reports a damaged file only the first time
            _load(image)
        if _stored_as_is(data, image) and not _too_large(image.size, short_side):
            if lossy:  # a header proves little, and a shard's reader will decode it all
                simplejpeg.decode_jpeg(data, colorspace="RGB", strict=True)
            return EncodedImage(data, "jpg" if lossy else "png", *image.size)
        upright = _decoded(image)
    if not _too_large(upright.size, short_side):
        return _encode(upright, "png")
    return _encode(_reduce(upright, short_side), "jpg" if lossy else "png")


def encode_pixels(pixels: NDArray[np.uint8], *, short_side: int | None = None) -> EncodedImage:
    """Return an array (H, W, 3) as binary PPM, which any program reads and none has to decode."""
    image = Image.fromarray(pixels)
    if _too_large(image.size, short_side):
        image = _reduce(image, short_side)
    return _encode(image, "ppm")


def decoded_size(data: bytes, codec: str) -> tuple[int, int]:
    """Decode a stored picture to its last byte and return its width and height in pixels.

    Raises:
        ValueError: it is damaged, is not of this codec, or has over 40 Mpx.
    """
    if codec == "jpg":
        height, width = simplejpeg.decode_jpeg_header(data)[:2]
        _check_pixels(width, height)
        check_scans(data, width, height)
        simplejpeg.decode_jpeg(data, colorspace="RGB", strict=True)
        return width, height
    with _open(data) as image:
        if image.format != codec.upper():
            raise ValueError(f"is {image.format}, not {codec}")
        _load(image)
        return image.size


def _open(data: bytes) -> Image.Image:
    if not data:
        raise ValueError("is empty")
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ValueError("has more than 40 Mpx") from None
    except Exception:  # Pillow's header parsers raise nearly anything on hostile data
        raise ValueError("is not an image of an allowed format") from None
    _check_pixels(*image.size)
    if image.info.get("compression") in _NESTED_JPEG:
        raise ValueError("is a TIFF of JPEG strips, which is not supported")
    return image


def _check_pixels(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise ValueError(f"has {width} x {height} pixels, more than 40 Mpx")
    if max(width, height) > MAX_SIDE:  # a decoder may allot a row for each byte of the file
        raise ValueError(f"has {width} x {height} pixels, a side of more than {MAX_SIDE}")


def _stored_as_is(data: bytes, image: Image.Image) -> bool:
    if _orientation(image) in _TURNS:
        return False
    if image.format in _JPEG:
        return image.mode in ("L", "RGB")
    if image.format != "PNG" or "transparency" in image.info:
        return False
    depth, colour = data[24], data[25]  # of IHDR, the first chunk: bit depth, colour type
    return depth == 8 and colour in (0, 2)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # an EXIF block that cannot be read says nothing
        return 1


def _load(image: Image.Image) -> None:
    try:
        image.load()
    except Exception as error:  # as in _open
        raise ValueError(f"cannot be decoded: {error}") from None


def _decoded(image: Image.Image) -> Image.Image:
    """Return the picture upright and in RGB."""
    _load(image)
    if image.mode == "F":
        raise ValueError("has floating-point pixels, which have no known range")
    turn = _TURNS.get(_orientation(image))
    try:
        return _rgb(image if turn is None else image.transpose(turn))
    except Exception as error:  # as in _open: colours that Pillow cannot convert
        raise ValueError(f"cannot be converted to RGB: {error}") from None


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits: keep the upper byte
        pixels = (np.asarray(image) >> 8).clip(0, 255).astype(np.uint8)
        return Image.fromarray(pixels).convert("RGB")
    if image.mode == "P":
        image = image.convert("RGBA")
    return image.convert("RGB")


def _too_large(size: tuple[int, int], short_side: int | None) -> bool:
    return short_side is not None and min(size) > short_side


def _reduce(image: Image.Image, short_side: int | None) -> Image.Image:
    assert short_side is not None
    scale = short_side / min(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.LANCZOS)


def _encode(image: Image.Image, codec: Codec) -> EncodedImage:
    if codec == "ppm":
        data = b"P6\n%d %d\n255\n" % image.size + image.tobytes()
    elif codec == "png":
        data = _saved(image, format="PNG")
    else:
        data = _saved(image, format="JPEG", quality=_JPEG_QUALITY)
    return EncodedImage(data, codec, *image.size)


def _saved(image: Image.Image, **options: object) -> bytes:
    bare = Image.frombytes("RGB", image.size, image.tobytes())  # without profiles and comments
    file = io.BytesIO()
    bare.save(file, **options)  # type: ignore[arg-type]
    return file.getvalue()
