"""A contact sheet: small pictures of some samples, each with its class and key."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from shards.files import write_atomically

_CELL = 112  # pixels of a picture's longer side
_GAP = 8
_TEXT = 28  # two lines
_LETTERS = 17  # of a caption below one picture
_PAPER, _INK, _PALE = (255, 255, 255), (20, 20, 20), (110, 110, 110)


@dataclass(frozen=True)
class Strip:
    """One sample on the sheet: its class, its key, and pictures that `fit` made, in order."""

    title: str
    key: str
    pictures: list[Image.Image]


def fit(pixels: NDArray[np.uint8]) -> Image.Image:
    """Scale (H, W, 3) to the cell; small ones by a whole factor, so that their pixels show."""
    picture = Image.fromarray(pixels)
    scale = (_CELL - 2) / max(picture.size)
    if scale >= 1:
        factor = int(scale)
        size = (picture.width * factor, picture.height * factor)
        return picture.resize(size, Image.Resampling.NEAREST)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.resize(size, Image.Resampling.LANCZOS)


def write_contact_sheet(path: Path, strips: Sequence[Strip], columns: int) -> None:
    """Draw the strips in rows of `columns` pictures, and save them as PNG.

    Raises:
        OSError: the file cannot be written.
    """
    longest = max(len(strip.pictures) for strip in strips)
    per_row = max(1, columns // longest)
    width = longest * _CELL + _GAP  # of one strip
    tallest = max(picture.height for strip in strips for picture in strip.pictures)
    height = tallest + _TEXT + _GAP
    rows = -(-len(strips) // per_row)
    sheet = Image.new("RGB", (per_row * width + _GAP, rows * height + _GAP), _PAPER)
    for place, strip in enumerate(strips):
        row, column = divmod(place, per_row)
        left, top = column * width + _GAP, row * height + _GAP
        for number, picture in enumerate(strip.pictures):
            sheet.paste(picture, (left + number * _CELL, top))
        _caption(sheet, strip, left, top + tallest, longest * _LETTERS)
    file = io.BytesIO()
    sheet.save(file, format="PNG")
    write_atomically(path, file.getbuffer())  # in the place of a link, not through it


def _caption(sheet: Image.Image, strip: Strip, left: int, top: int, letters: int) -> None:
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    draw.text((left, top), _short(strip.title, letters), _INK, font)
    draw.text((left, top + _TEXT // 2), _short(strip.key, letters), _PALE, font)


def _short(text: str, letters: int) -> str:
    shown = "".join(char if char.isprintable() else "?" for char in text)
    return shown if len(shown) <= letters else shown[: letters - 1] + "…"
