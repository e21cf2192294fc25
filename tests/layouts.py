"""Small datasets on the disk, in the layouts in which the real ones are distributed."""

import pickle
from pathlib import Path

import numpy as np
from media import make_frames, write_image, write_video

SYNSETS = {"n01": "crane, bird of the marshes", "n02": "crane, lifting machine", "n03": "cup"}


def cifar100(root: Path, protocol: int = 2) -> dict[str, np.ndarray]:
    """Write CIFAR-100 pickles of 3 classes; return the pictures, (N, 32, 32, 3), by split."""
    root.mkdir(parents=True)
    names = ["apple", "baby", "crab"]
    (root / "meta").write_bytes(pickle.dumps({"fine_label_names": names}, protocol))
    pictures = {}
    for split, count in (("train", 9), ("test", 4)):
        data = np.random.default_rng(count).integers(0, 256, (count, 3072), dtype=np.uint8)
        labels = [place % 3 for place in range(count)]
        document = {"data": data, "fine_labels": labels, "coarse_labels": labels}
        (root / split).write_bytes(pickle.dumps(document, protocol))
        planes = [row.reshape(3, 32, 32) for row in data]
        pictures[split] = np.stack([np.stack(list(plane), axis=-1) for plane in planes])
    return pictures


def cifar10(root: Path) -> None:
    """Write CIFAR-10 pickles of 2 classes and 2 pictures a batch."""
    root.mkdir(parents=True)
    (root / "batches.meta").write_bytes(pickle.dumps({"label_names": ["cat", "dog"]}, 2))
    for name in (*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"):
        data = np.full((2, 3072), len(name), np.uint8)
        (root / name).write_bytes(pickle.dumps({"data": data, "labels": [1, 0]}, 2))


def tiny_imagenet(root: Path) -> None:
    """Write Tiny-ImageNet: 2 training and 1 validation image a class, 1 listed image absent."""
    (root / "train").mkdir(parents=True)
    (root / "wnids.txt").write_text("n03\nn01\nn02\n")
    words = [f"{wnid}\t{text}\n" for wnid, text in SYNSETS.items()]
    (root / "words.txt").write_text("n00\tentity\n" + "".join(words))
    lines = ["val_9.JPEG\tn01\t0\t0\t9\t9\n"]
    for place, wnid in enumerate(SYNSETS):
        for number, picture in enumerate(make_frames(2, 32, 32, seed=place)):
            write_image(root / f"train/{wnid}/images/{wnid}_{number}.JPEG", picture)
        write_image(root / f"val/images/val_{place}.JPEG", picture)
        write_image(root / f"test/images/test_{place}.JPEG", picture)
        lines.append(f"val_{place}.JPEG\t{wnid}\t0\t0\t31\t31\n")
    (root / "val/val_annotations.txt").write_text("".join(lines))


def ucf101(root: Path) -> None:
    """Write UCF101 with 3 classes, one of them spelt otherwise in the lists; 3 of 6 videos."""
    lists = root / "ucfTrainTestlist"
    lists.mkdir(parents=True)
    (lists / "classInd.txt").write_text("1 Archery\r\n2 HandStandPushups\r\n3 Punch\r\n")
    for fold in (1, 2, 3):
        train = "Archery/v_Archery_g0{0}_c01.avi 1\r\nPunch/v_Punch_g0{0}_c01.avi 3\r\n"
        test = (
            "HandstandPushups/v_HandStandPushups_g0{0}_c01.avi\r\nPunch/v_Punch_g09_c0{0}.avi\r\n"
        )
        (lists / f"trainlist0{fold}.txt").write_text(train.format(fold))
        (lists / f"testlist0{fold}.txt").write_text(test.format(fold))
    for name in (
        "Archery/v_Archery_g01_c01",
        "HandstandPushups/v_HandStandPushups_g01_c01",
        "Punch/v_Punch_g09_c01",
    ):
        write_video(root / f"UCF-101/{name}.avi", make_frames(5))


def videofolder(root: Path, count: int = 3) -> None:
    """Write `count` videos in each of two classes."""
    for place, label in enumerate(("left hand", "run")):
        for number in range(count):
            frames = make_frames(5 + number, seed=10 * place + number)
            write_video(root / label / f"{number}.mp4", frames)


def imagefolder(root: Path, count: int = 4, splits: tuple[str, ...] = ("train", "val")) -> None:
    """Write `count` PNG images in each of two classes of each split."""
    for place, split in enumerate(splits):
        for number, label in enumerate(("cat", "dog")):
            pictures = make_frames(count, 20, 24, seed=10 * place + number)
            for name, picture in enumerate(pictures):
                write_image(root / split / label / f"{name}.png", picture)
