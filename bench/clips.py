"""Training clips: 16 frames of a 2.67 s window, short side 224 to 320, a 224 crop, a flip.

Three rows: decoding alone; the loader's share (ours ends at uint8 crops, the peers' include their
resize, for ours is on the device); the finished float batch on this CPU on both sides.
"""

import io
import random
import tempfile
import time
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import simplejpeg
import torch
import webdataset
from PIL import Image
from torchvision.transforms import functional

from bench.paired import cpu_seconds, print_table, ratio
from bench.samples import split as open_split
from shards.stream.loader import Batch, TrainStream, UpdateLoader
from shards.stream.plan import Plan
from shards.stream.reader import Split, open_dataset

CLIP = {"sample": "window", "length": 16, "seconds": 2.67}
SIZE, BATCH, STEPS = 224, 6, 20
MEAN = STD = (0.5, 0.5, 0.5)


def main() -> None:
    """Print clips per core-second, and every row's ratio to its peer."""
    split = open_split("ucf101", "video")
    frames = drawn_frames(split)
    with tempfile.TemporaryDirectory() as folder, open_loader(split, cycle(range(STEPS))) as loader:
        tar = write_frame_members(split, Path(folder) / "frames.tar")
        tasks = {
            "decode: simplejpeg": lambda: drain(simplejpeg.decode_jpeg(f, "RGB") for f in frames),
            "decode: PIL": lambda: drain(open_pil(data) for data in frames),
            "loader: ivvit": lambda: drain(read(loader)),
            "loader: webdataset + PIL": lambda: drain(peer_clips(tar)),
            "finished: ivvit": lambda: drain(b.render(SIZE, MEAN, STD) for b in read(loader)),
            "finished: webdataset + PIL": lambda: drain(finish(clip) for clip in peer_clips(tar)),
        }
        seconds = cpu_seconds(tasks)
    clips = BATCH * STEPS
    rows = [[name, f"{clips / np.median(times):.0f}"] for name, times in seconds.items()]
    print_table(f"{split.dataset}, {clips} clips", ["", "clips / core-second"], rows)
    pairs = [("decode", "decode: PIL", "decode: simplejpeg", "")]
    pairs.append(("loader's share of the decode bound", pairs[0][2], "loader: ivvit", ">= 0.95"))
    for row, goal in [("loader", ">= 10"), ("finished", "")]:
        pairs.append((row, f"{row}: webdataset + PIL", f"{row}: ivvit", goal))
    table = [[text, ratio(seconds[slow], seconds[fast]), goal] for text, slow, fast, goal in pairs]
    title = "times faster than the peer: median [least, most] of 5 paired rounds"
    print_table(title, ["", "ratio", "target"], table)
    print_table("resuming", ["", "seconds to the batch", "target"], [resume_row(split)])
    print("\nnot compared: torchcodec, decord and PyAV, which read the source videos")


def stream(split: Split) -> TrainStream:
    """The clips of IV-ViT 5.3."""
    return TrainStream(split, Plan(split.dataset, len(split), BATCH, 0), SIZE, **CLIP)  # type: ignore[arg-type]


def drain(items: Iterable[object]) -> None:
    """Make every item and keep none."""
    deque(items, maxlen=0)


def open_loader(split: Split, steps: Iterable[int]) -> UpdateLoader:
    """Open a loader with one thread and nothing made ahead, since CPU time is what is compared.

    It lasts for all rounds, so what is measured is the middle of a training.
    """
    updates = ({"ucf101": step} for step in steps)
    return UpdateLoader({"ucf101": stream(split)}, updates, threads=1, prefetch=0)


def read(loader: UpdateLoader) -> Iterator[Batch]:
    """Read the next STEPS batches."""
    return (update["ucf101"] for update in islice(loader, STEPS))


def drawn_frames(split: Split) -> list[bytes]:
    """Return the encoded frames that `read` decodes in a round."""
    frames = []
    for step in range(STEPS):
        for draw in stream(split).draw(step, range(BATCH)):
            frames += split.read(draw.index, np.unique(draw.frames))
    return frames


def write_frame_members(split: Split, path: Path) -> Path:
    """Write the same videos the usual way: a tar member per frame."""
    indices = [int(k) for step in range(STEPS) for k in stream(split).plan.indices(step)]
    with webdataset.TarWriter(str(path)) as writer:
        for number, index in enumerate(indices):
            sample = split[index]
            rate = {"__key__": f"{number:06d}", "fps": str(sample.fps).encode()}
            frames = {f"{t:06d}.jpg": data for t, data in enumerate(sample.frames)}
            writer.write(rate | frames)
    return path


def peer_clips(tar: Path) -> Iterator[list[Image.Image]]:
    """What a user of webdataset writes: PIL decoding, resizing and cropping per frame."""
    for sample in webdataset.WebDataset(str(tar), shardshuffle=False):
        names = sorted(name for name in sample if name.endswith(".jpg"))
        window = min(round(2.67 * float(sample["fps"])), len(names))
        start = random.randint(0, len(names) - window)
        numbers = start + np.linspace(0, window - 1, 16).astype(int)
        short, flip = random.randint(224, 320), random.random() < 0.5
        corner = random.random(), random.random()
        yield [crop_pil(open_pil(sample[names[k]]), short, corner, flip) for k in numbers]


def open_pil(data: bytes) -> Image.Image:
    """Decode one frame with PIL."""
    return Image.open(io.BytesIO(data)).convert("RGB")


def crop_pil(
    image: Image.Image, short: int, corner: tuple[float, float], flip: bool
) -> Image.Image:
    """Resize, crop and flip with torchvision on PIL images."""
    image = functional.resize(image, short)
    top, left = int(corner[0] * (image.height - SIZE)), int(corner[1] * (image.width - SIZE))
    image = functional.crop(image, top, left, SIZE, SIZE)
    return functional.hflip(image) if flip else image


def finish(clip: list[Image.Image]) -> torch.Tensor:
    """PIL frames to a normalised float clip (T, 3, S, S)."""
    frames = [functional.normalize(functional.to_tensor(frame), MEAN, STD) for frame in clip]
    return torch.stack(frames)


def resume_row(split: Split) -> list[str]:
    """Open the shards anew and read the batch of a late step."""
    start = time.perf_counter()
    with open_loader(open_dataset(split.folder)[split.name], [1_000_000]) as loader:
        drain(loader)
    return ["open the shards, batch of step 1,000,000", f"{time.perf_counter() - start:.3f}", "< 1"]


if __name__ == "__main__":
    main()
