"""Training images: RandomResizedCrop to 224 and a flip, of Tiny-ImageNet's 64x64 JPEGs.

Three rows: decoding alone; the loader's share (ours ends at uint8 crops, the peer's includes its
resize, for ours is on the device); the finished float batch on this CPU on both sides.
"""

import io
import tempfile
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torchvision import transforms
from torchvision.datasets import ImageFolder

from bench.paired import cpu_seconds, print_table, ratio
from bench.samples import split as open_split
from shards.stream.decode import decode_frame
from shards.stream.loader import Batch, TrainStream, UpdateLoader
from shards.stream.plan import Plan
from shards.stream.reader import Split

SIZE, BATCH, STEPS = 224, 50, 20
MEAN = STD = (0.5, 0.5, 0.5)


def main() -> None:
    """Print images per core-second, and every row's ratio to its peer."""
    split = open_split("tiny-imagenet", "image")
    with tempfile.TemporaryDirectory() as folder, open_loader(split) as loader:
        write_files(split, Path(folder))
        crop = [transforms.RandomResizedCrop(SIZE), transforms.RandomHorizontalFlip()]
        finish = [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
        cropped = ImageFolder(folder, transforms.Compose(crop))
        finished = ImageFolder(folder, transforms.Compose([*crop, *finish]))
        frames = [split.read(int(index))[0] for index in drawn(split)]
        tasks = {
            "decode: simplejpeg": lambda: [decode_frame(data, "jpg") for data in frames],
            "decode: PIL": lambda: [Image.open(io.BytesIO(d)).convert("RGB") for d in frames],
            "loader: ivvit": lambda: sum(1 for _ in read(loader)),
            "loader: ImageFolder + PIL": lambda: [cropped[k][0] for k in range(len(cropped))],
            "finished: ivvit": lambda: [b.render(SIZE, MEAN, STD).shape for b in read(loader)],
            "finished: ImageFolder + PIL": lambda: batches(finished),
        }
        seconds = cpu_seconds(tasks)
    rows = [[name, f"{BATCH * STEPS / np.median(times):.0f}"] for name, times in seconds.items()]
    print_table(f"{split.dataset}, {BATCH * STEPS} images", ["", "images / core-second"], rows)
    pairs = [("decode", "decode: PIL", "decode: simplejpeg", "")]
    pairs.append(("loader's share of the decode bound", pairs[0][2], "loader: ivvit", ""))
    for row, goal in [("loader", ">= 50"), ("finished", "")]:
        pairs.append((row, f"{row}: ImageFolder + PIL", f"{row}: ivvit", goal))
    table = [[text, ratio(seconds[slow], seconds[fast]), goal] for text, slow, fast, goal in pairs]
    title = "times faster than the peer: median [least, most] of 5 paired rounds"
    print_table(title, ["", "ratio", "target"], table)


def drawn(split: Split) -> np.ndarray:
    """Return the sample numbers that `read` reads in a round."""
    plan = Plan(split.dataset, len(split), BATCH, 0)
    return np.concatenate([plan.indices(step) for step in range(STEPS)])


def open_loader(split: Split) -> UpdateLoader:
    """Open a loader with one thread and nothing made ahead, since CPU time is what is compared.

    It lasts for all rounds, so what is measured is the middle of a training.
    """
    stream = TrainStream(split, Plan(split.dataset, len(split), BATCH, 0), SIZE)
    updates = ({"images": step} for step in cycle(range(STEPS)))
    return UpdateLoader({"images": stream}, updates, threads=1, prefetch=0)


def read(loader: UpdateLoader) -> Iterator[Batch]:
    """Read the next STEPS batches."""
    return (update["images"] for update in islice(loader, STEPS))


def write_files(split: Split, folder: Path) -> None:
    """Write the same images the usual way: a file each, in a folder per class."""
    for number, index in enumerate(drawn(split)):
        sample = split[int(index)]
        home = folder / str(sample.label)
        home.mkdir(exist_ok=True)
        (home / f"{number}.{sample.codec}").write_bytes(sample.frames[0])


def batches(images: ImageFolder) -> None:
    """Stack finished images into batches."""
    for start in range(0, len(images), BATCH):
        torch.stack([images[k][0] for k in range(start, min(start + BATCH, len(images)))])


if __name__ == "__main__":
    main()
