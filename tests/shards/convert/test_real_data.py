"""The real datasets of $IVVIT_TEST_DATA, against their own files and against plain ffmpeg.

Companions on generated data: test_convert.py, test_sources.py, test_video.py, test_image.py.
"""

import io
import json
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import webdataset
from media import run_ffmpeg
from PIL import Image

from shards.convert.dataset import convert
from shards.convert.verify import verify

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def samples(folder: Path, split: str) -> dict[str, dict[str, bytes]]:
    tars = sorted(str(path) for path in folder.glob(f"*-{split}-*.tar"))
    found = webdataset.WebDataset(tars, shardshuffle=False)
    return {sample["__key__"]: sample for sample in found}


def test_cifar100_pixels_are_those_of_the_pickles(real_data: Path, tmp_path: Path) -> None:
    root = real_data / "cifar-100-python"
    report = convert("cifar100", root, tmp_path / "out")
    for split in ("train", "test"):
        with (root / split).open("rb") as file:
            document = pickle.load(file, encoding="bytes")
        found = samples(tmp_path / "out", split)
        assert report.splits[split]["samples"] == len(found) == len(document[b"data"])
        for place, sample in enumerate(found.values()):
            pixels = np.asarray(Image.open(io.BytesIO(sample["ppm"])))
            assert np.array_equal(pixels.transpose(2, 0, 1).ravel(), document[b"data"][place])
            assert int(sample["cls"]) == document[b"fine_labels"][place]


def test_tiny_imagenet_bytes_are_those_of_the_files(real_data: Path, tmp_path: Path) -> None:
    root = real_data / "tiny-imagenet-200"
    report = convert("tiny-imagenet", root, tmp_path / "out")
    wnids = (root / "wnids.txt").read_text().split()
    train = samples(tmp_path / "out", "train")
    assert len(train) == len(list((root / "train").glob("*/images/*.JPEG")))
    for key, sample in train.items():
        wnid = key.split("_")[0]
        assert sample["jpg"] == (root / f"train/{wnid}/images/{key}.JPEG").read_bytes()
        assert wnids[int(sample["cls"])] == wnid
    val = samples(tmp_path / "out", "val")
    assert len(val) == report.splits["val"]["samples"] == len(list((root / "val/images").iterdir()))
    annotations = (root / "val/val_annotations.txt").read_text().splitlines()
    labels = {Path(line.split("\t")[0]).stem: line.split("\t")[1] for line in annotations}
    for key, sample in val.items():
        assert sample["jpg"] == (root / f"val/images/{key}.JPEG").read_bytes()
        assert wnids[int(sample["cls"])] == labels[key]
    assert verify(tmp_path / "out").ok


def count_frames(path: Path) -> int:
    args = ("-map", "0:v:0", "-fps_mode", "passthrough", "-f", "framecrc", "pipe:1")
    lines = run_ffmpeg("-i", f"file:{path}", *args).splitlines()
    return sum(not line.startswith(b"#") for line in lines)


def test_ucf101_has_every_frame_of_every_video_once(real_data: Path, tmp_path: Path) -> None:
    root = real_data / "UCF101"
    report = convert("ucf101", root, tmp_path / "out")
    on_disk = sorted((root / "UCF-101").glob("*/*.avi"))
    assert (report.listed, report.written, report.skipped) == (13320, len(on_disk), 0)
    found = samples(tmp_path / "out", "train") | samples(tmp_path / "out", "test")
    with ThreadPoolExecutor() as pool:
        counts = list(pool.map(count_frames, on_disk))
    for path, count in zip(on_disk, counts, strict=True):
        document = json.loads(found[path.stem]["json"])
        assert document["frames"] == count
        assert document["class"] == path.parent.name
        assert not document["resampled"]


def test_kinetics_videos_are_all_there(real_data: Path, tmp_path: Path) -> None:
    root = real_data / "kinetics400"
    report = convert("kinetics", root, tmp_path / "out", short_side=64)
    on_disk = list((root / "val").glob("*/*.mp4"))
    assert report.splits.keys() == {"val"}
    assert (report.written, report.skipped) == (len(on_disk), 0)
