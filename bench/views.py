"""10x3 evaluation: frames decoded and CPU time, against decoding every frame of every view."""

import numpy as np

from bench.paired import cpu_seconds, print_table, ratio
from bench.samples import split as open_split
from shards.stream.clips import place_clips
from shards.stream.decode import decode_frame
from shards.stream.reader import Split
from shards.stream.views import ViewLoader, Views

VIEWS, VIDEOS, SIZE = Views(10, 3), 12, 224


def main() -> None:
    """Print decodes per video and what decoding each distinct frame once is worth."""
    for name in ("ucf101", "kinetics"):
        report(open_split(name, "video"))


def report(split: Split) -> None:
    """Print one dataset's table."""
    videos = range(min(VIDEOS, len(split)))
    distinct = [sample.frames.shape[0] for sample in look(split, videos)]
    seconds = cpu_seconds(
        {
            "each distinct frame once": lambda: sum(1 for _ in look(split, videos)),
            "each clip's frames": lambda: naive(split, videos, 1),
            "each view's frames": lambda: naive(split, videos, VIEWS.crops),
        },
        rounds=3,
    )
    once = seconds["each distinct frame once"]
    views = VIEWS.clips * VIEWS.crops
    rows = [["each distinct frame once", f"{np.median(distinct):.0f}", "1", "each once"]]
    for label, count in [("each clip's frames", VIEWS.clips), ("each view's frames", views)]:
        rows.append([label, str(count * 16), ratio(seconds[label], once), ""])
    title = f"{split.dataset}, {len(videos)} videos, {VIEWS} views of 16 frames, a 2.67 s window"
    print_table(title, ["", "decodes per video", "CPU time", "target"], rows)


def look(split: Split, videos: range) -> ViewLoader:
    """Read the views through the loader, with one thread, since CPU time is what is compared."""
    clip = {"sample": "window", "length": 16, "seconds": 2.67}
    return ViewLoader(split, views=VIEWS, size=SIZE, indices=videos, threads=1, **clip)  # type: ignore[arg-type]


def naive(split: Split, videos: range, times: int) -> None:
    """Decode every frame of every clip, `times` times."""
    for index in videos:
        record = split.samples[index]
        clips = place_clips(
            int(record["frames"]),
            float(record["fps"]),
            clips=VIEWS.clips,
            sample="window",
            length=16,
            seconds=2.67,
        )
        for clip in np.repeat(clips, times, axis=0):
            np.stack([decode_frame(data, "jpg") for data in split.read(index, clip)])


if __name__ == "__main__":
    main()
