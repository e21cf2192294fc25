"""Training clips: 16 frames of a 2.67 s window, short side 224 to 320, a 224 crop, a flip.

The peers read the same clips: webdataset from a tar member per frame, with PIL; torchcodec, decord
and PyAV from the source videos.
"""

import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import webdataset

from bench.clip_peers import LENGTH, MEAN, SECONDS, SIZE, STD, Peer, video_reader, webdataset_pil
from bench.paired import cpu_seconds, print_peers, print_table, ratio
from bench.readers import find_readers
from bench.samples import sources
from bench.samples import split as open_split
from shards.stream.dataset import open_dataset
from shards.stream.decode import decode_frame
from shards.stream.loader import Batch, TrainStream, UpdateLoader
from shards.stream.memory import room_for_frames
from shards.stream.plan import Plan
from shards.stream.reader import Split

BATCH, STEPS = 6, 20
BOUND, PEER = "simplejpeg, the bound", "webdataset + PIL"
ROWS = {
    "decoding only, on both sides": {},
    "the loader's share: ours up to uint8 crops, for a device resizes; theirs with their resize": {
        PEER: ">= 10",
        "decord": ">= 12",
        "torchcodec": ">= 4.5",
    },
    "the finished, normalised 224 batch, on this CPU on both sides": {},
}

Tasks = dict[str, Callable[[], object]]


def main() -> None:
    """Print clips per core-second, and every row's ratio to its peers."""
    split = open_split("ucf101", "video")
    with tempfile.TemporaryDirectory() as folder, open_loader(split, cycle(range(STEPS))) as loader:
        frames = drawn_frames(split)
        peers = find_peers(split, Path(folder), [data for data, _ in frames])
        rows: list[Tasks] = [
            {BOUND: lambda: drain(decode_frame(data, "jpg", room) for data, room in frames)},
            {"ivvit": lambda: drain(read(loader))},
            {"ivvit": lambda: drain(batch.render(SIZE, MEAN, STD) for batch in read(loader))},
        ]
        for name, peer in peers.items():
            finished = partial(peer.finished, BATCH)
            for row, task in zip(rows, (peer.decoded, peer.cropped, finished), strict=True):
                row[name] = lambda task=task: drain(task())  # type: ignore[misc]
        report(split, rows)
    print_table("resuming", ["", "seconds to the batch", "target"], [resume_row(split)])


def report(split: Split, rows: list[Tasks]) -> None:
    """Measure and print the three rows."""
    tasks = {f"{k} {name}": task for k, row in enumerate(rows) for name, task in row.items()}
    seconds = cpu_seconds(tasks)
    count = BATCH * STEPS
    print(f"\n{split.dataset}, {count} clips; median [least, most] of 5 paired rounds")
    for k, (title, targets) in enumerate(ROWS.items()):
        print_peers(title, {name: seconds[f"{k} {name}"] for name in rows[k]}, count, targets)
    share = ratio(seconds[f"0 {BOUND}"], seconds["1 ivvit"])
    print_table("ivvit's loader", ["", "ratio", "target"], [["of the bound", share, ">= 0.95"]])


def find_peers(split: Split, folder: Path, frames: list[bytes]) -> dict[str, Peer]:
    """Return the peers that are installed and have what they read; say which are not."""
    peers = {PEER: webdataset_pil(write_frame_members(split, folder / "frames.tar"), frames)}
    paths = sources(split)
    if not paths:
        print("not compared: torchcodec, decord and PyAV: the source videos are not at hand")
        return peers
    clips = [
        (paths[split.key(draw.index)], draw.frames.tolist())
        for step in range(STEPS)
        for draw in stream(split).draw(step, range(BATCH))
    ]
    readers = find_readers(clips[0][0])
    return peers | {name: video_reader(reader, clips) for name, reader in readers.items()}


def stream(split: Split) -> TrainStream:
    """The clips of IV-ViT 5.3."""
    plan = Plan(split.dataset, len(split), BATCH, 0)
    return TrainStream(split, plan, SIZE, sample="window", length=LENGTH, seconds=SECONDS)


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


def drawn_frames(split: Split) -> list[tuple[bytes, np.ndarray]]:
    """Return the encoded frames that `read` decodes in a round, and memory for each size."""
    rooms: dict[int, np.ndarray] = {}
    frames = []
    for step in range(STEPS):
        for draw in stream(split).draw(step, range(BATCH)):
            record = split.samples[draw.index]
            size = 3 * int(record["width"]) * int(record["height"])
            room = rooms.setdefault(size, room_for_frames(size))
            frames += [(data, room) for data in split.read(draw.index, np.unique(draw.frames))]
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


def resume_row(split: Split) -> list[str]:
    """Open the shards anew and read the batch of a late step."""
    start = time.perf_counter()
    with open_loader(open_dataset(split.folder)[split.name], [1_000_000]) as loader:
        drain(loader)
    return ["open the shards, batch of step 1,000,000", f"{time.perf_counter() - start:.3f}", "< 1"]


if __name__ == "__main__":
    main()
