"""Opening and reading the index of a million clips of 300 frames in ten thousand shards.

The index is really written, to a temporary folder (3.7 GB), and read by a process that does nothing
else. The shards themselves are not there: opening looks at none of them.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from shards.index import FRAME, SAMPLE, encode_header
from shards.manifest import DatasetInfo, ShardInfo, SplitInfo, write_dataset_info
from shards.stream.dataset import open_dataset

CLIPS, FRAMES, SHARDS = 1_000_000, 300, 10_000
LOOKS = 200_000  # random clips whose places are read
BYTES = 12_000  # of a frame
TARGETS = ["target", "< 1", "< 1", "< 100", "< 100", "", ""]


def main() -> None:
    """Print the seconds to open the index, the memory it takes, and random reads a second."""
    from bench.paired import print_table  # it imports torch, which is not to be measured

    with tempfile.TemporaryDirectory(prefix="ivvit-bench-") as folder:
        size = write_dataset(Path(folder))
        rows = [[f"run {number}", *measured(Path(folder))] for number in (1, 2, 3)]
    columns = ["", "open cold, s", "open, s", "MB opened", f"MB after {LOOKS:,} clips"]
    columns += ["clips/s cold", "clips/s"]
    title = f"index of {CLIPS:,} clips, {CLIPS * FRAMES:,} frames, {SHARDS:,} shards: {size:.1f} GB"
    print_table(title, columns, [*rows, TARGETS])
    print("  MB resident of the whole process; a clip's 300 places are read at once")


def write_dataset(folder: Path) -> float:
    """Write the manifest and the index, and return the index's size in GB."""
    per_shard = CLIPS // SHARDS
    samples = np.zeros(CLIPS, SAMPLE)
    samples["key"] = [b"clip_%09d" % number for number in range(CLIPS)]
    samples["first_frame"] = np.arange(CLIPS) * FRAMES
    samples["shard"] = np.arange(CLIPS) // per_shard
    samples["label"] = np.arange(CLIPS) % 400
    samples["frames"], samples["fps"] = FRAMES, 30
    samples["width"], samples["height"] = 426, 320
    places = np.zeros(per_shard * FRAMES, FRAME)
    places["offset"], places["size"] = np.arange(len(places)) * BYTES, BYTES
    path = folder / "big-train.index"
    with path.open("wb") as file:
        file.write(encode_header({}, CLIPS, CLIPS * FRAMES))
        file.write(samples.tobytes())
        for _ in range(SHARDS):
            file.write(places.tobytes())
        file.flush()
        os.fsync(file.fileno())
    write_dataset_info(folder, manifest(path.name))
    return path.stat().st_size / 1e9


def manifest(index: str) -> DatasetInfo:
    """Return a dataset.json that fits the index."""
    per_shard = CLIPS // SHARDS
    size = per_shard * FRAMES * BYTES
    shards = tuple(
        ShardInfo(file=f"big-train-{k:06d}.tar", samples=per_shard, bytes=size, sha256="0" * 64)
        for k in range(SHARDS)
    )
    split = SplitInfo(
        samples=CLIPS,
        frames=CLIPS * FRAMES,
        bytes=size * SHARDS,
        index=index,
        index_sha256="0" * 64,
        shards=shards,
        listed=CLIPS,
        written=CLIPS,
        missing=0,
        skipped=0,
    )
    return DatasetInfo(
        name="big",
        kind="video",
        classes=tuple(f"class {k}" for k in range(400)),
        class_source="bench",
        splits={"train": split},
        options={},
        tools={},
    )


def measured(folder: Path) -> list[str]:
    """Return the figures of a process of its own."""
    code = f"from bench.index import look; look({str(folder)!r})"
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True)
    found = json.loads(done.stdout)
    seconds = [f"{found[key]:.3f}" for key in ("cold", "warm")]
    memory = [f"{found[key]:.0f}" for key in ("opened", "read")]
    return [*seconds, *memory, *(f"{LOOKS / found[key]:,.0f}" for key in ("first", "again"))]


def look(folder: str) -> None:
    """Open the dataset, with its pages in memory and without, read at random, and print figures."""
    forget(Path(folder) / "big-train.index")
    found = {}
    with timed(found, "cold"):
        open_dataset(folder)["train"]
    with timed(found, "warm"):
        split = open_dataset(folder)["train"]
    found["opened"] = resident()
    chosen = np.random.default_rng(0).integers(0, len(split), LOOKS).tolist()
    for name in ("first", "again"):
        with timed(found, name):
            for i in chosen:
                split.places(i)
    print(json.dumps({**found, "read": resident()}))


@contextmanager
def timed(found: dict[str, float], name: str) -> Iterator[None]:
    """Note the wall seconds of what runs within."""
    start = time.perf_counter()
    yield
    found[name] = time.perf_counter() - start


def forget(path: Path) -> None:
    """Ask the system to drop a file's pages."""
    descriptor = os.open(path, os.O_RDONLY)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)


def resident() -> float:
    """Return this process's resident memory in MB, mapped files included."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1e3


if __name__ == "__main__":
    main()
