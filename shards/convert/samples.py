"""One item to the members of one sample."""

import hashlib
import json
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shards.convert.errors import BadMedia, why_unreadable
from shards.convert.image import EncodedImage, encode_image, encode_pixels, read_file
from shards.convert.items import Item
from shards.convert.options import Options
from shards.convert.stills import read_stills
from shards.convert.tarmember import member_file, read_member
from shards.convert.video import VideoFrames, read_video
from shards.manifest import Kind


@dataclass(frozen=True)
class Sample:
    """A converted item.

    `members` are the tar members by extension. The frames lie one after another in the members
    named by `media`; `sizes` are the bytes of each frame.
    """

    key: str
    label: int
    members: dict[str, bytes]
    media: tuple[str, ...]
    sizes: tuple[int, ...]
    codec: str
    width: int
    height: int
    fps: float


@dataclass(frozen=True)
class Skipped:
    """An item that could not be converted."""

    source: str
    split: str
    reason: str


def convert_item(item: Item, *, kind: Kind, class_name: str, options: Options) -> Sample | Skipped:
    """Convert one item, or say why it cannot be converted.

    Raises:
        EnvironmentFault: the machine lacks something, which says nothing of the item.
    """
    if item.fault:
        return Skipped(item.source, item.split, item.fault)
    try:
        if kind == "video":
            return _video_sample(item, class_name, options)
        return _image_sample(item, class_name, options)
    except BadMedia as error:
        return Skipped(item.source, item.split, error.reason)
    except OSError as error:
        return Skipped(item.source, item.split, why_unreadable(Path(item.source), error))
    except ValueError as error:
        return Skipped(item.source, item.split, str(error) or "cannot be read")


def _image_sample(item: Item, class_name: str, options: Options) -> Sample:
    image, digest = _encode(item, options)
    size = {"width": image.width, "height": image.height}
    members = {image.codec: image.data, **_labels(item, class_name, digest, size)}
    return Sample(
        item.key, item.label, members, (image.codec,), (len(image.data),),
        image.codec, image.width, image.height, 0.0,
    )  # fmt: skip


def _encode(item: Item, options: Options) -> tuple[EncodedImage, str]:
    if item.pixels is not None:
        digest = hashlib.sha256(item.pixels.tobytes()).hexdigest()
        return encode_pixels(item.pixels, short_side=options.short_side), digest
    assert item.path is not None
    data = read_member(item.path, *item.place) if item.place else read_file(item.path)
    digest = hashlib.sha256(data).hexdigest()
    return encode_image(data, short_side=options.short_side), digest


def _video_sample(item: Item, class_name: str, options: Options) -> Sample:
    assert item.path is not None
    with member_file(item.path, *item.place) if item.place else nullcontext(item.path) as path:
        video, digest = _read_video(path, item, options)
    sizes = tuple(len(frame) for frame in video.frames)
    facts = _facts(video, sizes)
    if options.layout == "frames":
        media = {f"{place:06d}.jpg": frame for place, frame in enumerate(video.frames)}
        del facts["offsets"]
    else:
        media = {"mjpg": b"".join(video.frames)}
    members = {**media, **_labels(item, class_name, digest, facts)}
    return Sample(
        item.key, item.label, members, tuple(media), sizes,
        "jpg", video.width, video.height, video.fps,
    )  # fmt: skip


def _read_video(path: Path, item: Item, options: Options) -> tuple[VideoFrames, str]:
    if item.frames is not None:
        return read_stills(path, item.frames, short_side=options.short_side)
    video = read_video(
        path,
        short_side=options.short_side,
        fps=options.fps,
        quality=options.quality,
        segment=item.segment,
    )
    with path.open("rb") as file:
        return video, hashlib.file_digest(file, "sha256").hexdigest()


def _facts(video: VideoFrames, sizes: tuple[int, ...]) -> dict[str, Any]:
    offsets = [0]
    for size in sizes:
        offsets.append(offsets[-1] + size)
    notes = {"notes": video.notes} if video.notes else {}
    return {
        "frames": len(video.frames),
        "fps": video.fps,
        "width": video.width,
        "height": video.height,
        "resampled": video.resampled,
        "offsets": offsets,
        **notes,
    }


def _labels(item: Item, class_name: str, digest: str, facts: dict[str, Any]) -> dict[str, bytes]:
    document = {
        "label": item.label,
        "class": class_name,
        "source": item.source,
        "sha256": digest,
        **facts,
    }
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return {"json": text.encode(), "cls": str(item.label).encode()}
