"""The four datasets of the demo, drawn from a seed, and a harder one that the benchmarks use.

Sample number i of every class of a split is drawn from the same random numbers: the same places,
colours and noise. So nothing but what the class names tells the classes apart.
"""

import zlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from types import MappingProxyType

import numpy as np

from ivvit_cli.demo import drawing
from ivvit_cli.demo.drawing import Figure, Floats, Pattern, Pixels, grid, paint, photograph
from ivvit_cli.demo.media import write_image, write_video
from shards.manifest import Kind

SIDE = 64  # pixels
WIDE = 96  # pixels; left, centre and right crops of a wide frame differ

Random = np.random.Generator


@dataclass(frozen=True)
class DemoSet:
    """A dataset: what it is, how many samples each class has per split, how one is drawn."""

    name: str
    kind: Kind
    suffix: str
    about: str
    classes: tuple[str, ...]
    per_class: Mapping[str, int]  # split -> samples
    draw: Callable[[int, Random], Pixels]  # label -> (H, W, 3) or (T, H, W, 3)
    fps: int = 0  # of a video

    def sample(self, split: str, label: int, number: int, seed: int) -> Pixels:
        """Return a sample's pixels: (H, W, 3) of an image, (T, H, W, 3) of a video."""
        stream = zlib.crc32(f"{self.name}/{split}".encode())
        return self.draw(label, np.random.default_rng([seed, stream, number]))

    def path(self, split: str, label: int, number: int) -> Path:
        """Return where a sample lies, from the dataset's folder."""
        return Path(split, self.classes[label], f"{number:03d}{self.suffix}")

    def places(self) -> Iterator[tuple[str, int, int]]:
        """Yield split, label and number of every sample."""
        for split, count in self.per_class.items():
            for label in range(len(self.classes)):
                yield from ((split, label, number) for number in range(count))

    def write(self, folder: Path, seed: int, done: Callable[[], None] = lambda: None) -> None:
        """Write every sample as `folder/SPLIT/CLASS/NUMBER.SUFFIX`; `done` is called after each.

        Raises:
            EnvironmentFault: ffmpeg could not write a video.
        """

        def write_one(place: tuple[str, int, int]) -> None:
            path = folder / self.path(*place)
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = self.sample(*place, seed)
            if self.kind == "image":
                write_image(path, pixels)
            else:
                write_video(path, pixels, fps=self.fps)

        with ThreadPoolExecutor() as pool:
            for _ in pool.map(write_one, self.places()):
                done()


FIGURES: tuple[Figure, ...] = (
    drawing.circle,
    drawing.cross,
    drawing.square,
    drawing.triangle,
)
MOVERS: tuple[Figure, ...] = (drawing.cross, drawing.ring, drawing.triangle)
PATTERNS: tuple[Pattern, ...] = (
    drawing.checks,
    drawing.columns,
    drawing.dots,
    drawing.rows,
    drawing.slopes,
)
COLOURS = MappingProxyType({"red": (220, 50, 50), "green": (50, 190, 70), "blue": (60, 90, 230)})
ORDERS = sorted(permutations(COLOURS, 2))

ORDER_FRAMES = 24  # an odd multiple of the clip's 8: clips read backwards are the twin's clips
MOVING_FRAMES = 24
WAYS = MappingProxyType({"down": (1, 0), "left": (0, -1), "right": (0, 1), "up": (-1, 0)})


def _dark(rng: Random) -> Floats:
    return rng.uniform(0, 60, 3).astype(np.float32)


def _bright(rng: Random) -> Floats:
    return rng.uniform(140, 255, 3).astype(np.float32)


def _shape(label: int, rng: Random) -> Pixels:
    """A bright figure anywhere on a dark ground."""
    image = paint(SIDE, SIDE, _dark(rng))
    radius = rng.uniform(0.3, 0.42) * SIDE
    place = rng.uniform(radius, SIDE - radius, 2)
    image[FIGURES[label](*grid(SIDE, SIDE, tuple(place)), radius)] = _bright(rng)
    return photograph(image, rng)


def _texture(label: int, rng: Random) -> Pixels:
    """A bright pattern on a dark ground, of any phase and of a period from 14 to 24 pixels."""
    image = paint(SIDE, WIDE, _dark(rng))
    period = rng.uniform(14, 24)
    y, x = grid(SIDE, WIDE, tuple(rng.uniform(0, period, 2)))
    image[PATTERNS[label](y / period, x / period)] = _bright(rng)
    return photograph(image, rng)


def _moving(label: int, rng: Random) -> Pixels:
    """A bright figure on its way from one place to another: any frame tells what it is."""
    radius = rng.uniform(0.26, 0.36) * SIDE
    low, high = (radius, 0.25 * WIDE), (SIDE - radius, 0.75 * WIDE)
    path = np.linspace(rng.uniform(low, high), rng.uniform(low, high), MOVING_FRAMES)
    ground, colour = _dark(rng), _bright(rng)
    frames = []
    for place in path:
        image = paint(SIDE, WIDE, ground)
        image[MOVERS[label](*grid(SIDE, WIDE, tuple(place)), radius)] = colour
        frames.append(photograph(image, rng))
    return np.stack(frames)


def _order(label: int, rng: Random) -> Pixels:
    """A ball of one colour, then of another, at a new place in every frame.

    `red-then-green` number i is `green-then-red` number i played backwards: the two have the same
    frames, so that only their order tells which is which.
    """
    names = ORDERS[label]
    first, then = sorted(names)
    change = rng.integers(ORDER_FRAMES // 4, 3 * ORDER_FRAMES // 4 + 1)
    grey = paint(SIDE, SIDE, np.float32(rng.uniform(90, 150)) * np.ones(3, np.float32))
    frames = []
    for number in range(ORDER_FRAMES):
        image = grey.copy()
        radius = rng.uniform(11, 15)
        ball = drawing.circle(
            *grid(SIDE, SIDE, tuple(rng.uniform(radius, SIDE - radius, 2))), radius
        )
        colour = COLOURS[first if number < change else then]
        image[ball] = colour + rng.uniform(-15, 15, 3)
        frames.append(photograph(image, rng))
    return np.stack(frames if names == (first, then) else frames[::-1])


def _direction(label: int, rng: Random) -> Pixels:
    """A bright disc on its way round a torus, 2 to 3.5 pixels per frame, from anywhere on it.

    `up` and `left` number i are `down` and `right` number i played backwards: a set of frames tells
    the axis, their order the way.
    """
    way = np.array(list(WAYS.values())[label])
    ground, colour = _dark(rng), _bright(rng)
    radius, speed, start = rng.uniform(8, 13), rng.uniform(2, 3.5), rng.uniform(0, SIDE, 2)
    frames = []
    for number in range(MOVING_FRAMES):
        image = paint(SIDE, SIDE, ground)
        y, x = grid(SIDE, SIDE, tuple(start + number * speed * abs(way)))
        image[drawing.circle(_wrapped(y), _wrapped(x), radius)] = colour
        frames.append(photograph(image, rng))
    return np.stack(frames if way.sum() > 0 else frames[::-1])


def _wrapped(distance: Floats) -> Floats:
    return (distance + SIDE // 2) % SIDE - SIDE // 2


def _names(functions: tuple[Callable[..., object], ...]) -> tuple[str, ...]:
    return tuple(function.__name__ for function in functions)


SHAPES = DemoSet(
    "shapes",
    "image",
    ".png",
    "a figure on a plain ground",
    _names(FIGURES),
    {"train": 120, "val": 30},
    _shape,
)
TEXTURES = DemoSet(
    "textures",
    "image",
    ".jpg",
    "a pattern that fills the picture",
    _names(PATTERNS),
    {"train": 120, "val": 24},
    _texture,
)
MOVING = DemoSet(
    "moving",
    "video",
    ".mp4",
    "a figure that moves: any single frame tells which",
    _names(MOVERS),
    {"train": 40, "val": 20},
    _moving,
    fps=12,
)
ORDER = DemoSet(
    "order",
    "video",
    ".mp4",
    "a ball that changes its colour: only the order of the frames tells",
    tuple(f"{first}-then-{then}" for first, then in ORDERS),
    {"train": 40, "val": 32},
    _order,
    fps=12,
)
DIRECTION = DemoSet(
    "direction",
    "video",
    ".mp4",
    "a disc that moves and wraps round: the order of the frames tells its way",
    tuple(WAYS),
    {"train": 160, "val": 48},
    _direction,
    fps=12,
)
DATASETS = (SHAPES, TEXTURES, MOVING, ORDER)
