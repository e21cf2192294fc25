"""How a dataset is converted."""

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from shards.convert.video import SHORT_SIDE
from shards.errors import UsageError
from shards.manifest import Kind

Layout = Literal["mjpg", "frames"]

SHARD_SIZE = 256 << 20


@dataclass(frozen=True)
class Options:
    """What decides the bytes of the shards; a change converts anew.

    Args:
        short_side: pixels that the shorter side is reduced to; None: as it is.
        fps: frames per second of videos; None: the source's.
        quality: ffmpeg's `-q:v` of video frames, 2 (best) to 31.
        layout: a video's frames as one member, or one member each.
        fold: which of the official train and test lists, where there are several.
        protocol: which of the official protocols, where there are several.
        shard_size: bytes that a shard should have, about.
    """

    short_side: int | None
    fps: float | None
    quality: int
    layout: Layout
    fold: int | None
    protocol: str | None
    shard_size: int

    def document(self) -> dict[str, Any]:
        """Return the options as plain values, for `dataset.json`."""
        return asdict(self)


def make_options(
    kind: Kind,
    *,
    short_side: int | None,
    fps: float | None,
    quality: int,
    layout: str,
    fold: int | None,
    protocol: str | None,
    shard_size: int,
) -> Options:
    """Check the options of a conversion and fill in the short side (320 for videos).

    Raises:
        UsageError: a value is out of its range.
    """
    if layout not in get_args(Layout):
        raise UsageError(f"layout {layout}: use {' or '.join(get_args(Layout))}")
    if not 2 <= quality <= 31:
        raise UsageError(f"quality {quality}: ffmpeg's scale goes from 2 (best) to 31")
    if fps is not None and not 0 < fps <= 1000:
        raise UsageError(f"fps {fps:g}: must be above 0 and at most 1000")
    if short_side is not None and short_side < 0:
        raise UsageError(f"short side {short_side}: must be positive, or 0 for the source's size")
    if shard_size < 1:
        raise UsageError(f"shard size {shard_size}: must be positive")
    if short_side is None and kind == "video":
        short_side = SHORT_SIDE
    return Options(short_side or None, fps, quality, layout, fold, protocol, shard_size)  # type: ignore[arg-type]
