"""Images: which bytes stay untouched, what becomes PNG, and what is refused."""

import io
from pathlib import Path

import numpy as np
import pytest
from media import make_frames
from PIL import Image

from shards.convert.image import decoded_size, encode_image, encode_pixels, read_image
from shards.errors import InputError

PIXELS = make_frames(1, 40, 60)[0]


def saved(pixels: np.ndarray | Image.Image, **options: object) -> bytes:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    file = io.BytesIO()
    image.save(file, **options)
    return file.getvalue()


def opened(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


def exif(orientation: int) -> Image.Exif:
    block = Image.Exif()
    block[0x0112] = orientation
    return block


@pytest.mark.parametrize(
    ("data", "codec"),
    [
        (saved(PIXELS, format="JPEG"), "jpg"),
        (saved(PIXELS, format="JPEG", progressive=True), "jpg"),
        (saved(PIXELS[..., 0], format="JPEG"), "jpg"),
        (saved(PIXELS, format="JPEG", exif=exif(0)), "jpg"),
        (saved(PIXELS, format="JPEG", exif=exif(1)), "jpg"),
        (saved(PIXELS, format="JPEG", exif=exif(9)), "jpg"),
        (saved(PIXELS, format="PNG"), "png"),
        (saved(PIXELS[..., 0], format="PNG"), "png"),
    ],
)
def test_the_source_s_own_bytes_are_kept(data: bytes, codec: str) -> None:
    image = encode_image(data)
    assert (image.data, image.codec, image.width, image.height) == (data, codec, 60, 40)
    assert decoded_size(image.data, codec) == (60, 40)


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_picture_that_lies_is_stored_upright_and_without_loss(orientation, kind) -> None:
    data = saved(PIXELS, format=kind, exif=exif(orientation))
    turn = {
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: a.swapaxes(0, 1)[:, ::-1],
        7: lambda a: a.swapaxes(0, 1)[::-1, ::-1],
        8: lambda a: a.swapaxes(0, 1)[::-1],
    }[orientation]
    image = encode_image(data)
    assert image.codec == "png"
    assert np.array_equal(opened(image.data), turn(opened(data)))
    assert Image.open(io.BytesIO(image.data)).getexif() == {}


def test_other_kinds_of_pixels_become_rgb_png() -> None:
    rgb = Image.fromarray(PIXELS)
    alpha = rgb.copy()
    alpha.putalpha(128)
    few = rgb.quantize(16)
    deep = (np.arange(40 * 60, dtype=np.uint16).reshape(40, 60) * 27).astype(np.uint16)
    cases = [
        (saved(alpha, format="PNG"), PIXELS),
        (saved(few, format="PNG"), np.asarray(few.convert("RGB"))),
        (saved(rgb, format="PNG", transparency=(1, 2, 3)), PIXELS),
        (saved(rgb, format="WEBP", lossless=True), PIXELS),
        (saved(rgb, format="BMP"), PIXELS),
        (saved(rgb, format="TIFF"), PIXELS),
        (saved(few, format="GIF"), np.asarray(few.convert("RGB"))),
        (saved(deep, format="PNG"), np.repeat((deep >> 8).astype(np.uint8)[..., None], 3, 2)),
        (saved(rgb.convert("1"), format="PNG"), np.asarray(rgb.convert("1").convert("RGB"))),
    ]
    for data, expected in cases:
        image = encode_image(data)
        assert image.codec == "png"
        assert np.array_equal(opened(image.data), expected)


def test_rarer_pixels_become_rgb_png() -> None:
    rgb = Image.fromarray(PIXELS)
    grey = PIXELS[..., 0]
    hidden = np.where(grey[..., None] > 128, 255, 0).astype(np.uint8)
    wide = np.repeat(grey.astype(np.uint16)[..., None] * 257, 3, 2)
    masked = rgb.quantize(8)
    frames = [Image.fromarray(frame) for frame in make_frames(3, 40, 60)]
    exact = {"lossless": True, "exact": True}  # also of what nobody sees
    rest = {"save_all": True, "append_images": frames[1:], "duration": 100}
    cases = [
        (saved(Image.fromarray(np.dstack([grey, hidden])), format="PNG"), np.dstack([grey] * 3)),
        (saved(Image.fromarray(np.dstack([PIXELS, hidden])), format="WEBP", **exact), PIXELS),
        (saved(masked, format="PNG", transparency=bytes([0, 128, 255])), masked.convert("RGB")),
        (saved(masked, format="GIF", transparency=3), masked.convert("RGB")),
        (saved(frames[0], format="WEBP", lossless=True, **rest), frames[0]),
        (saved(frames[0], format="PNG", **rest), frames[0]),
        (saved(Image.fromarray(wide[..., 0]), format="TIFF"), np.dstack([grey] * 3)),
        (saved(rgb.convert("CMYK"), format="TIFF"), rgb.convert("CMYK").convert("RGB")),
        (saved(rgb.convert("YCbCr"), format="TIFF"), rgb.convert("YCbCr").convert("RGB")),
    ]
    for data, expected in cases:
        image = encode_image(data)
        assert np.abs(opened(image.data).astype(int) - np.asarray(expected)).max() <= 1


def test_pixels_without_a_known_range_are_refused() -> None:
    with pytest.raises(ValueError, match="no known range"):
        encode_image(saved(Image.new("F", (8, 8)), format="TIFF"))


def test_cmyk_jpeg_becomes_rgb_png() -> None:
    data = saved(Image.fromarray(PIXELS).convert("CMYK"), format="JPEG", quality=95)
    image = encode_image(data)
    assert image.codec == "png"
    assert np.abs(opened(image.data).astype(int) - PIXELS).mean() < 5


def test_arrays_become_ppm_without_loss() -> None:
    image = encode_pixels(PIXELS)
    assert image.codec == "ppm"
    assert image.data == b"P6\n60 40\n255\n" + PIXELS.tobytes()
    assert np.array_equal(opened(image.data), PIXELS)


def test_only_larger_images_are_resized_and_only_when_asked() -> None:
    jpeg, png = saved(PIXELS, format="JPEG"), saved(PIXELS, format="PNG")
    assert encode_image(jpeg, short_side=40).data == jpeg
    assert encode_image(jpeg, short_side=400).data == jpeg
    small = encode_image(jpeg, short_side=20)
    assert (small.codec, small.width, small.height) == ("jpg", 30, 20)
    assert encode_image(png, short_side=20).codec == "png"
    assert encode_pixels(PIXELS, short_side=10).data.startswith(b"P6\n15 10\n255\n")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF"])
@pytest.mark.parametrize("cut", [0.0, 0.02, 0.5, 0.9])
def test_a_cut_image_is_refused(tmp_path: Path, kind: str, cut: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = saved(noise, format=kind)
    path = tmp_path / "cut.img"
    path.write_bytes(data[: int(len(data) * cut)])
    with pytest.raises(InputError, match=str(path)):
        read_image(path)


def test_formats_beyond_the_list_are_refused() -> None:
    for kind in ("JPEG2000", "ICO", "PCX", "TGA", "PDF"):
        with pytest.raises(ValueError, match="not an image of an allowed format"):
            encode_image(saved(PIXELS, format=kind))


def test_a_picture_of_too_many_pixels_is_refused_by_its_header() -> None:
    large = saved(Image.new("L", (8000, 5001)), format="PNG")
    with pytest.raises(ValueError, match="more than 40 Mpx"):
        encode_image(large)
    with pytest.raises(ValueError, match="more than 40 Mpx"):
        decoded_size(large, "png")
    bomb = saved(Image.new("1", (20_000, 20_000)), format="PNG")
    with pytest.raises(ValueError, match="more than 40 Mpx"):
        encode_image(bomb)


def test_a_picture_of_one_endless_row_is_refused() -> None:
    with pytest.raises(ValueError, match="a side of more than 65535"):
        encode_image(saved(Image.new("L", (70_000, 1)), format="PNG"))


def test_a_jpeg_of_many_scans_is_refused_and_its_thumbnail_does_not_count() -> None:
    side = Image.new("L", (3000, 3000), 128)
    data = saved(side, format="JPEG", progressive=True)
    last = data[data.rindex(b"\xff\xda") : -2]
    many = data[:-2] + last * 95 + b"\xff\xd9"
    with pytest.raises(ValueError, match="has more than 100 scans"):
        encode_image(many)
    with pytest.raises(ValueError, match="has more than 100 scans"):
        decoded_size(many, "jpg")
    comment = b"\xff\xfe" + (2 + 4000).to_bytes(2) + b"\xff\xda" * 2000
    assert encode_image(data[:2] + comment + data[2:]).codec == "jpg"


def test_damaged_metadata_does_not_cost_the_picture() -> None:
    data = saved(PIXELS, format="JPEG", exif=b"Exif\0\0" + b"\xff" * 40)
    assert encode_image(data).data == data


def test_a_stored_picture_must_be_of_its_codec() -> None:
    with pytest.raises(ValueError, match="is PNG, not ppm"):
        decoded_size(saved(PIXELS, format="PNG"), "ppm")
