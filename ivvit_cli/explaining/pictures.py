"""Maps over the frames that they are of: a strip to read, an animation to watch."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]

_PAPER, _INK = (255, 255, 255), (20, 20, 20)
_LABEL = 76  # pixels, left of a row
_LINE = 18  # above a picture
_GAP = 4
_CELL = 128  # at least, the side of a frame
_SHADE = 0.65  # of a map over its frame
# From dark to bright with even steps of lightness, in which the colour-blind see the order, too.
_SCALE = np.array(
    [(3, 5, 26), (68, 16, 101), (147, 38, 103), (221, 81, 58), (252, 165, 10), (252, 255, 164)],
    np.float32,
)


def colour(values: Floats) -> Pixels:
    """Return values from 0 to 1 (..., H, W) as colours (..., H, W, 3)."""
    place = values.clip(0, 1) * (len(_SCALE) - 1)
    below = np.minimum(place.astype(int), len(_SCALE) - 2)
    share = (place - below)[..., None]
    mixed = _SCALE[below] * (1 - share) + _SCALE[below + 1] * share
    levels: Pixels = np.rint(mixed).astype(np.uint8)
    return levels


def enlarge(frames: Pixels) -> Pixels:
    """Repeat the pixels of small frames (T, S, S, 3), so that they can be seen."""
    factor = -(-_CELL // frames.shape[1])
    return frames.repeat(factor, 1).repeat(factor, 2)


def lay_over(maps: Pixels, frames: Pixels) -> Pixels:
    """Lay coloured maps (M, h, w, 3) over frames (T, S, S, 3); M divides T."""
    side, each = frames.shape[1], len(frames) // len(maps)
    out = [
        Image.blend(
            Image.fromarray(frame),
            Image.fromarray(maps[t // each]).resize((side, side), Image.Resampling.BILINEAR),
            _SHADE,
        )
        for t, frame in enumerate(frames)
    ]
    return np.stack([np.asarray(picture) for picture in out])


def draw_strip(frames: Pixels, rows: Mapping[str, Pixels]) -> Image.Image:
    """Draw the frames in a row, and below them rows of pictures of the same size, labelled."""
    count, side = frames.shape[:2]
    everything = {"frame": frames, **rows}
    step = side + _GAP
    size = (_LABEL + count * step, _LINE + len(everything) * step)
    strip = Image.new("RGB", size, _PAPER)
    draw, font = ImageDraw.Draw(strip), ImageFont.load_default(13)
    for t in range(count):
        draw.text((_LABEL + t * step, 1), f"t = {t}", _INK, font)
    for row, (label, pictures) in enumerate(everything.items()):
        top = _LINE + row * step
        draw.text((_GAP, top + side // 2 - 8), label, _INK, font)
        for t, picture in enumerate(pictures):
            strip.paste(Image.fromarray(picture), (_LABEL + t * step, top))
    return strip


def draw_animation(frames: Pixels, rows: Mapping[str, Pixels]) -> list[Image.Image]:
    """Draw one picture per moment: the frame beside the rows' pictures, in columns of four."""
    everything = {"frame": frames, **rows}
    side = frames.shape[1]
    columns = min(4, len(everything))
    height, step = side + _LINE, side + _GAP
    lines = -(-len(everything) // columns)
    size = (_even(columns * step), _even(lines * height))
    return [_moment(everything, t, size, columns, (step, height)) for t in range(len(frames))]


def _moment(
    everything: Mapping[str, Pixels],
    t: int,
    size: tuple[int, int],
    columns: int,
    step: tuple[int, int],
) -> Image.Image:
    picture = Image.new("RGB", size, _PAPER)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(13)
    for place, (label, pictures) in enumerate(everything.items()):
        left, top = place % columns * step[0], place // columns * step[1]
        draw.text((left + 2, top + 1), label, _INK, font)
        picture.paste(Image.fromarray(pictures[t]), (left, top + _LINE))
    return picture


def _even(pixels: int) -> int:
    """Return a size that a video can have whose colours have half the resolution."""
    return pixels + pixels % 2
