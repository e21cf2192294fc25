"""A contact sheet: small pictures of some samples, each with its class and key."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

_CELL = 112  # pixels of a picture's longer side
_GAP = 8
_TEXT = 28  # two lines
_LETTERS = 17  # of a caption below one picture
_PAPER, _INK, _PALE = (255, 255, 255), (20, 20, 20), (110, 110, 110)


@dataclass(frozen=True)
class Strip:
    """One sample on the sheet: its class, its key, and pictures of (H, W, 3) uint8, in order."""

    title: str
    key: str
    pictures: list[NDArray[np.uint8]]


def write_contact_sheet(path: Path, strips: Sequence[Strip], columns: int) -> None:
    """Draw the strips in rows of `columns` pictures, and save them as PNG.

    Raises:
        OSError: the file cannot be written.
    """
    longest = max(len(strip.pictures) for strip in strips)
    per_row = max(1, columns // longest)
    rows = -(-len(strips) // per_row)
    width = longest * _CELL + _GAP  # of one strip
    height = _CELL + _TEXT + _GAP
    sheet = Image.new("RGB", (per_row * width + _GAP, rows * height + _GAP), _PAPER)
    for place, strip in enumerate(strips):
        row, column = divmod(place, per_row)
        _draw(sheet, strip, column * width + _GAP, row * height + _GAP, longest * _LETTERS)
    sheet.save(path, format="PNG")


def _draw(sheet: Image.Image, strip: Strip, left: int, top: int, letters: int) -> None:
    for place, pixels in enumerate(strip.pictures):
        picture = _fit(Image.fromarray(pixels))
        middle = ((_CELL - picture.width) // 2, (_CELL - picture.height) // 2)
        sheet.paste(picture, (left + place * _CELL + middle[0], top + middle[1]))
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    draw.text((left, top + _CELL), _short(strip.title, letters), _INK, font)
    draw.text((left, top + _CELL + _TEXT // 2), _short(strip.key, letters), _PALE, font)


def _fit(picture: Image.Image) -> Image.Image:
    """Scale a picture to the cell; small ones by a whole factor, so that their pixels show."""
    scale = (_CELL - 2) / max(picture.size)
    if scale >= 1:
        factor = int(scale)
        size = (picture.width * factor, picture.height * factor)
        return picture.resize(size, Image.Resampling.NEAREST)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.resize(size, Image.Resampling.LANCZOS)


def _short(text: str, letters: int) -> str:
    shown = "".join(char if char.isprintable() else "?" for char in text)
    return shown if len(shown) <= letters else shown[: letters - 1] + "…"
