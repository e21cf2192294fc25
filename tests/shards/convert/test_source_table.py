"""What every source makes of $IVVIT_TEST_DATA; where it has lists but no clip, one stands in.

Companions on generated data: test_sources.py, test_official_sources.py, test_own_lists.py. Run with
`-s` to see the table.
"""

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
from media import run_ffmpeg

from shards.convert.dataset import convert
from shards.convert.verify import verify

CLIP = "kinetics400/val/arm wrestling/C4lCVBZ3ux0_000028_000038.mp4"
DEMO = "something-something-v2/samples/human_demos/task5/0.webm"


def link(target: Path, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)


def extract(video: Path, folder: Path) -> None:
    folder.mkdir(parents=True)
    run_ffmpeg("-i", str(video), "-vf", "fps=12", "-q:v", "3", str(folder / "%05d.jpg"))


def kinetics600(data: Path, root: Path) -> None:
    link(data / "kinetics600/annotations", root / "annotations")
    link(data / CLIP, root / "val/abseiling/yq_M1PMw2hY_000038_000048.mp4")


def kinetics700(data: Path, root: Path) -> None:
    link(data / "kinetics700/annotations", root / "annotations")
    link(data / "kinetics400/val", root / "val")


def mini_kinetics(data: Path, root: Path) -> None:
    for name in ("val", "annotations"):
        link(data / "kinetics400" / name, root / name)
    link(data / "mini-kinetics-200", root / "mini-kinetics-200")


def ssv2(data: Path, root: Path) -> None:
    link(data / "something-something-v2/labels", root / "labels")
    link(data / DEMO, root / "20bn-something-something-v2/74225.webm")


def moments(data: Path, root: Path) -> None:
    """The lists of the real layout, from the names and labels of another list."""
    root.mkdir()
    source = data / "moments-in-time"
    classes = (source / "label_map_mmaction2.txt").read_text().split("\n")[:339]
    numbered = [f"{name},{number}" for number, name in enumerate(classes)]
    (root / "moments_categories.txt").write_text("\n".join(numbered))
    for name, part in (("training", "train"), ("validation", "validation")):
        with (source / f"MIT16_{part}.csv").open() as file:
            rows = [f"{row['filename']},{row['MIT label']},3,0" for row in csv.DictReader(file)]
        (root / f"{name}Set.csv").write_text("\n".join(rows))
        link(data / CLIP, root / name / rows[0].split(",")[0])


def smarthome(data: Path, root: Path) -> None:
    for name in ("Walk_p03_r00_v02_c01", "Cook.Cut_p02_r00_v02_c03", "Pour.Fromcup_p02_r00_v0_c1"):
        link(data / CLIP, root / f"mp4/{name}.mp4")


def jester(data: Path, root: Path) -> None:
    for path in (data / "jester-v1").iterdir():
        link(path, root / path.name)
    extract(data / DEMO, root / "20bn-jester-v1/34870")


def imagenet(data: Path, root: Path) -> None:
    link(data / "imagenet/LOC_synset_mapping.txt", root / "LOC_synset_mapping.txt")
    for folder in sorted((data / "tiny-imagenet-200/train").iterdir())[:3]:
        link(folder / "images", root / "train" / folder.name)
    picture = next((data / "tiny-imagenet-200/val/images").iterdir())
    link(picture, root / "val/ILSVRC2012_val_00000001.JPEG")
    (root / "val.txt").write_text("ILSVRC2012_val_00000001.JPEG 65\n")


def imagefolder(data: Path, root: Path) -> None:
    for folder in sorted((data / "tiny-imagenet-200/train").iterdir())[:2]:
        link(folder / "images", root / "train" / folder.name)


def frames(data: Path, root: Path) -> None:
    lists = data / "something-something-v2/frame_lists"
    name = "something-something-v2-train-processed.txt"
    link(lists / name, root / name)
    labels = "label_map_mmaction2.txt"
    link(data / "something-something-v2" / labels, root / labels)
    first = (lists / name).read_text().split()
    extract(data / CLIP, root / first[0])


STAND_INS: dict[str, Callable[[Path, Path], None]] = {
    "kinetics600": kinetics600,
    "kinetics700": kinetics700,
    "mini-kinetics": mini_kinetics,
    "ssv2": ssv2,
    "moments": moments,
    "smarthome": smarthome,
    "jester": jester,
    "imagenet": imagenet,
    "imagefolder": imagefolder,
    "frames": frames,
}
PLACES = {
    "cifar100": "cifar-100-python",
    "tiny-imagenet": "tiny-imagenet-200",
    "ucf101": "UCF101",
    "hmdb51": "hmdb51",
    "kinetics": "kinetics400/val",
    "kinetics400": "kinetics400",
    "videofolder": "other-video",
    "csv": "custom-videolist-2class",
}
TABLE = {  # listed, written, missing, skipped, duplicate, classes
    "cifar100": (5000, 5000, 0, 0, 0, 100),
    "tiny-imagenet": (4000, 4000, 0, 0, 0, 20),
    "imagenet": (451, 451, 0, 0, 0, 1000),
    "ucf101": (13320, 134, 13186, 0, 0, 101),
    "hmdb51": (5100, 5, 5095, 0, 0, 51),
    "kinetics": (7, 7, 0, 0, 0, 2),
    "kinetics400": (19906, 7, 19899, 0, 0, 400),
    "kinetics600": (30000, 1, 29999, 0, 0, 600),
    "kinetics700": (7, 7, 0, 0, 0, 700),
    "mini-kinetics": (85000, 3, 84997, 0, 0, 200),
    "ssv2": (24777, 1, 24776, 0, 0, 174),
    "moments": (2456, 2, 2454, 0, 0, 339),
    "smarthome": (2, 2, 0, 0, 0, 31),
    "jester": (133349, 1, 133348, 0, 0, 27),
    "imagefolder": (300, 300, 0, 0, 0, 2),
    "videofolder": (20, 20, 0, 0, 0, 1),
    "csv": (9, 9, 0, 0, 0, 2),
    "frames": (300, 1, 299, 0, 0, 174),
}


@pytest.mark.parametrize("source", [*PLACES, *STAND_INS])
def test_each_source_gives_its_row(real_data: Path, tmp_path: Path, source: str) -> None:
    root = tmp_path / "root"
    if source in STAND_INS:
        STAND_INS[source](real_data, root)
    else:
        root = real_data / PLACES[source]
    fps = 12.0 if source == "frames" else None
    report = convert(source, root, tmp_path / "out", short_side=64, fps=fps)
    row = (
        *(report.listed, report.written, report.missing, report.skipped, report.duplicate),
        len(report.classes),
    )
    print(f"| {source} | {' | '.join(map(str, row))} |")
    assert row == TABLE[source]
    assert verify(tmp_path / "out").ok
