"""A whole dataset: list and plan it, then convert what is missing."""

from importlib.metadata import version
from pathlib import Path
from typing import Any

from shards.convert.conversion import Conversion, Progress
from shards.convert.ffmpeg import find_ffmpeg
from shards.convert.options import SHARD_SIZE, make_options
from shards.convert.parts import WHOLE, Part
from shards.convert.plan import plan_shards
from shards.convert.report import Report
from shards.convert.sources import FOLDED, PROTOCOLS, STILLS, list_source
from shards.convert.video import QUALITY


def prepare(
    source: str,
    root: Path,
    *,
    fold: int = 1,
    protocol: str | None = None,
    short_side: int | None = None,
    fps: float | None = None,
    quality: int = QUALITY,
    layout: str = "mjpg",
    shard_size: int = SHARD_SIZE,
) -> Conversion:
    """List a dataset and plan its shards.

    Args:
        source: the dataset's layout, a name in `shards.convert.sources.SOURCES`.
        root: the dataset's folder.
        fold: which of the official lists (UCF101, HMDB51: 1, 2 or 3).
        protocol: which of the official protocols (Smarthome: cs, cv1 or cv2; None: cs).
        short_side: pixels that the shorter side is reduced to; None: 320 for videos, as it is for
            images and extracted frames; 0: as it is.
        fps: frames per second that videos are converted to, or at which frames were extracted;
            None: as they are.
        quality: ffmpeg's `-q:v` of video frames, 2 (best) to 31.
        layout: "mjpg", a video's frames as one member, or "frames", one member each.
        shard_size: bytes that a shard should have, about.

    Raises:
        InputError: the folder is missing or laid out otherwise.
        UsageError: an option is out of its range.
        EnvironmentFault: the dataset holds videos and there is no ffmpeg.
    """
    protocol = protocol or PROTOCOLS.get(source)
    listing = list_source(source, root, fold=fold, protocol=protocol, fps=fps)
    if source in STILLS:
        short_side = short_side or 0
        fps = STILLS[source] if fps is None else fps
    options = make_options(
        listing.kind,
        short_side=short_side,
        fps=fps,
        quality=quality,
        layout=layout,
        fold=fold if source in FOLDED else None,
        protocol=protocol,
        shard_size=shard_size,
    )
    tools = {"ivvit": version("ivvit")}
    if listing.kind == "video":
        tools["ffmpeg"] = find_ffmpeg().version
    plans = plan_shards(listing, options, tools.get("ffmpeg", ""))
    return Conversion(listing, options, plans, tools)


def convert(
    source: str,
    root: Path,
    out: Path,
    *,
    part: Part = WHOLE,
    engine: str = "local",
    workers: int | None = None,
    on_bad: str = "skip",
    retry_failed: bool = False,
    on_progress: Progress | None = None,
    **options: Any,
) -> Report:
    """Convert the dataset in `root` to shards in `out`.

    `options` are those of `prepare`, the others those of `Conversion.run`; both say what they
    raise.
    """
    return prepare(source, root, **options).run(
        out,
        part=part,
        engine=engine,
        workers=workers,
        on_bad=on_bad,
        retry_failed=retry_failed,
        on_progress=on_progress,
    )
