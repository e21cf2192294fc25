"""Simple figures and patterns as masks, and a camera that adds its noise."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]
Pixels = NDArray[np.uint8]
Figure = Callable[[Floats, Floats, float], Mask]
Pattern = Callable[[Floats, Floats], Mask]


def grid(height: int, width: int, centre: tuple[float, float] = (0, 0)) -> tuple[Floats, Floats]:
    """Return how far each pixel's middle lies below and right of the centre, each (H, W)."""
    rows, columns = np.indices((height, width), dtype=np.float32) + 0.5
    return rows - np.float32(centre[0]), columns - np.float32(centre[1])


def paint(height: int, width: int, colour: Floats) -> Floats:
    """Return an image (H, W, 3) of one colour, given as levels from 0 to 255."""
    return np.broadcast_to(colour, (height, width, 3)).astype(np.float32)


def photograph(image: Floats, rng: np.random.Generator) -> Pixels:
    """Return the image as a camera gives it: with a little noise, in whole levels."""
    noise = 4 * rng.standard_normal(image.shape, dtype=np.float32)
    levels: Pixels = np.rint(image + noise).clip(0, 255).astype(np.uint8)
    return levels


def circle(y: Floats, x: Floats, radius: float) -> Mask:
    """A filled circle."""
    return y**2 + x**2 < radius**2


def ring(y: Floats, x: Floats, radius: float) -> Mask:
    """A circle with a hole."""
    return circle(y, x, radius) & ~circle(y, x, 0.6 * radius)


def square(y: Floats, x: Floats, radius: float) -> Mask:
    """A square, a little smaller than the circle's bounding box so that its area is alike."""
    return np.maximum(abs(y), abs(x)) < 0.88 * radius


def triangle(y: Floats, x: Floats, radius: float) -> Mask:
    """A triangle that stands on its base."""
    return (y < 0.8 * radius) & (1.8 * abs(x) < y + radius)


def cross(y: Floats, x: Floats, radius: float) -> Mask:
    """Two bars that cross."""
    return (np.minimum(abs(y), abs(x)) < 0.33 * radius) & (np.maximum(abs(y), abs(x)) < radius)


# Patterns repeat with a period of 1 in both directions.


def rows(y: Floats, x: Floats) -> Mask:
    """Stripes that lie."""
    return y % 1 < 0.5


def columns(y: Floats, x: Floats) -> Mask:
    """Stripes that stand."""
    return x % 1 < 0.5


def slopes(y: Floats, x: Floats) -> Mask:
    """Stripes on the slant."""
    return (y + x) % 1 < 0.5


def checks(y: Floats, x: Floats) -> Mask:
    """A chessboard."""
    return rows(y, x) ^ columns(y, x)


def dots(y: Floats, x: Floats) -> Mask:
    """Spots on a square lattice."""
    return circle(y % 1 - 0.5, x % 1 - 0.5, 0.36)
