"""Conversion of videos: `ivvit shard` against PyAV + PIL, and against ffmpeg's bare decoding.

Ours is everything from files to finished shards: ffmpeg, sha256 of the sources, tar, index, fsync.
The peers only make JPEG frames in memory, or decode and throw away.
"""

import io
import os
import resource
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from bench.paired import print_table, ratio
from shards.convert.dataset import convert
from shards.convert.ffmpeg import find_ffmpeg
from shards.convert.video import SHORT_SIDE

VIDEOS = 24  # of each dataset, spread over its classes
ROUNDS = 3
GENERATED = {  # name: ending, seconds, ffmpeg's source and encoder
    "UCF101-like": (".avi", 6, "testsrc2=size=320x240:rate=25", ("-c:v", "mpeg4", "-q:v", "5")),
    "Kinetics-like": (".mp4", 6, "testsrc2=size=640x360:rate=30", ("-c:v", "libx264")),
}
TARGETS = {
    "UCF101": ">= 1.3",
    "UCF101-like": ">= 1.3",
    "Kinetics": ">= 3.5",
    "Kinetics-like": ">= 3.5",
}


def main() -> None:
    """Print videos per core-second, and the ratios to the peers, for MPEG-4 and for H.264."""
    binary = find_ffmpeg()
    print(f"ffmpeg {binary.version}, starts in {1000 * binary.start:.0f} ms")
    with tempfile.TemporaryDirectory() as work:
        for name, videos in (find_videos() or make_videos(Path(work))).items():
            measure(name, videos, Path(work))


def find_videos() -> dict[str, list[Path]]:
    """Return real videos below $IVVIT_TEST_DATA, if it is set."""
    root = Path(os.environ.get("IVVIT_TEST_DATA", "none"))
    found = {
        "UCF101": sorted(root.glob("UCF101/UCF-101/*/*.avi")),
        "Kinetics": sorted(root.glob("kinetics400/val/*/*.mp4")),
    }
    return {
        name: videos[:: max(1, len(videos) // VIDEOS)] for name, videos in found.items() if videos
    }


def make_videos(folder: Path) -> dict[str, list[Path]]:
    """Write four clips of each kind."""
    print("IVVIT_TEST_DATA is not set: measuring on generated clips")
    found: dict[str, list[Path]] = {}
    for name, (ending, seconds, source, encoder) in GENERATED.items():
        found[name] = [folder / f"{name}-{number}{ending}" for number in range(4)]
        for path in found[name]:
            command = [find_ffmpeg().path, "-v", "error", "-f", "lavfi", "-i", source]
            subprocess.run([*command, "-t", str(seconds), *encoder, str(path)], check=True)
    return found


def measure(name: str, videos: list[Path], work: Path) -> None:
    """Print the tables of one set of videos."""
    folder = work / name / "source" / "train" / "only"
    folder.mkdir(parents=True)
    for video in videos:
        (folder / video.name).symlink_to(video.resolve())
    tasks: dict[str, Callable[[], object]] = {
        "ivvit shard": lambda: shard(folder.parents[1]),
        "ffmpeg -threads 1 -f null": lambda: [decode_only(video) for video in videos],
    }
    try:
        import av  # noqa: F401

        tasks["PyAV + PIL, quality 90"] = lambda: [pyav_pil(video) for video in videos]
    except ImportError:
        print("PyAV is not installed: not compared")
    seconds = cpu_seconds(tasks)
    rows = [[task, f"{len(videos) / min(times):.1f}"] for task, times in seconds.items()]
    print_table(f"{name}, {len(videos)} videos", ["", "videos / core-second"], rows)
    ours = seconds["ivvit shard"]
    table = [
        ["time over bare decoding", ratio(ours, seconds["ffmpeg -threads 1 -f null"]), "<= 2.7"]
    ]
    if peer := seconds.get("PyAV + PIL, quality 90"):
        table.append(["times faster than PyAV + PIL", ratio(peer, ours), TARGETS[name]])
    title = f"ratios: median [least, most] of {ROUNDS} paired rounds"
    print_table(title, ["", "ratio", "target"], table)


def cpu_seconds(tasks: Mapping[str, Callable[[], object]]) -> dict[str, list[float]]:
    """Return the CPU seconds of each task in each round, those of its subprocesses included."""
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for number in range(ROUNDS + 1):
        for name, task in tasks.items():
            start = used()
            task()
            if number:  # the first round warms the caches
                seconds[name].append(used() - start)
    return seconds


def used() -> float:
    """Return the CPU seconds of this process and of those it has waited for."""
    parts = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(part.ru_utime + part.ru_stime for part in parts)


def shard(root: Path) -> None:
    """Convert a folder anew."""
    with tempfile.TemporaryDirectory() as out:
        convert("videofolder", root, Path(out) / "shards", workers=1)


def decode_only(path: Path) -> None:
    """Decode a video on one thread and keep nothing."""
    command = [find_ffmpeg().path, "-v", "error", "-nostdin", "-threads", "1", "-i", str(path)]
    subprocess.run([*command, "-an", "-fps_mode", "passthrough", "-f", "null", "-"], check=True)


def pyav_pil(path: Path) -> list[bytes]:
    """Decode with PyAV and encode with PIL, as a script would."""
    import av

    frames = []
    with av.open(str(path)) as container:
        container.streams.video[0].thread_count = 1
        for frame in container.decode(video=0):
            image = frame.to_image()
            if min(image.size) > SHORT_SIDE:
                scale = SHORT_SIDE / min(image.size)
                image = image.resize((round(image.width * scale), round(image.height * scale)))
            file = io.BytesIO()
            image.save(file, "JPEG", quality=90)
            frames.append(file.getvalue())
    return frames
