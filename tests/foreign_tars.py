"""WebDataset tars as others make them, by webdataset's own writers, and damage done to them."""

import io
import tarfile
from collections.abc import Iterable
from pathlib import Path

import webdataset
from media import make_frames
from PIL import Image

Files = list[tuple[str, bytes]]


def image(codec: str = "JPEG", seed: int = 0, size: tuple[int, int] = (24, 16)) -> bytes:
    """Return a picture as a file of a format that Pillow writes."""
    file = io.BytesIO()
    Image.fromarray(make_frames(1, size[1], size[0], seed)[0]).save(file, codec)
    return file.getvalue()


def write_shards(pattern: Path, samples: Iterable[dict[str, object]], per_tar: int = 4) -> None:
    """Write samples with webdataset's ShardWriter, which puts times into headers of POSIX."""
    pattern.parent.mkdir(parents=True, exist_ok=True)
    with webdataset.ShardWriter(str(pattern), maxcount=per_tar, verbose=0) as writer:
        for sample in samples:
            writer.write(sample)


def images(count: int, first: int = 0, classes: int = 3) -> list[dict[str, object]]:
    """Return samples of an image and a number each."""
    return [
        {"__key__": f"{number:06d}", "jpg": image(seed=number), "cls": number % classes}
        for number in range(first, first + count)
    ]


def clips(count: int, frames: int = 5, form: str = "{:06d}.jpg") -> list[dict[str, object]]:
    """Return videos of an image a frame, whose .json tells class, number and rate."""
    return [
        {
            "__key__": f"clip{number}",
            **{form.format(t): image(seed=10 * number + t) for t in range(frames)},
            "json": {"label": number % 2, "class": ("run", "walk")[number % 2], "fps": 12.5},
        }
        for number in range(count)
    ]


def write_tar(path: Path, files: Files, form: int = tarfile.USTAR_FORMAT) -> Path:
    """Write plain members in this order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=form) as tar:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def plain_files(count: int = 6) -> Files:
    """Return the members of plain samples: a PNG and a number each."""
    return [
        file
        for number in range(count)
        for file in (
            (f"k{number}.cls", b"%d" % (number % 2)),
            (f"k{number}.png", image("PNG", number)),
        )
    ]
