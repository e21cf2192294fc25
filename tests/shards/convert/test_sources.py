"""Each dataset's layout: items, labels, class names, what is missing, what is refused."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import layouts
import numpy as np
import pytest
from media import make_frames, write_image

from shards.convert.items import Listing
from shards.convert.sources import SOURCES, list_source
from shards.errors import InputError, UsageError


def rows(listing: Listing) -> set[tuple[str, str, str]]:
    return {(item.split, listing.classes[item.label], item.source) for item in listing.items}


@pytest.mark.parametrize("protocol", [2, 4])
def test_cifar100_gives_the_pictures_of_its_pickles(tmp_path: Path, protocol: int) -> None:
    pictures = layouts.cifar100(tmp_path / "cifar-100-python", protocol)
    for root in (tmp_path, tmp_path / "cifar-100-python"):
        listing = list_source("cifar100", root)
        assert listing.classes == ("apple", "baby", "crab")
        assert [item.label for item in listing.items] == [n % 3 for n in (*range(9), *range(4))]
        found = np.stack([item.pixels for item in listing.items if item.split == "test"])
        assert np.array_equal(found, pictures["test"])
        assert listing.items[0].key == "train-00000"


def test_cifar10_joins_its_batches_in_order(tmp_path: Path) -> None:
    layouts.cifar10(tmp_path / "cifar-10-batches-py")
    listing = list_source("cifar10", tmp_path)
    assert [item.source for item in listing.items[:3]] == [
        "data_batch_1:0",
        "data_batch_1:1",
        "data_batch_2:0",
    ]
    assert [item.split for item in listing.items].count("test") == 2
    assert len({item.key for item in listing.items}) == 12


class Payload:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("owned",)


@pytest.mark.parametrize(
    "content",
    [
        Payload(),
        {"fine_label_names": ["a"], "x": Payload()},
        [1],
        {"fine_label_names": "abc"},
        np.float64(1),
    ],
)
def test_a_pickle_that_holds_anything_else_is_refused(tmp_path, monkeypatch, content) -> None:
    layouts.cifar100(tmp_path / "c")
    (tmp_path / "c/meta").write_bytes(pickle.dumps(content))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="meta"):
        list_source("cifar100", tmp_path / "c")
    assert not (tmp_path / "owned").exists()


class Call:
    """Pickles as a call of `function`, with anything for arguments."""

    def __init__(self, function: object, *args: object) -> None:
        self.call = function, args

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return self.call


class Forged(Call):
    """Pickles as a dtype that says of bytes that they are pointers to objects."""

    def __reduce__(self) -> tuple[object, ...]:
        pointer = (np.dtype("O"), (1,))
        return np.dtype, ("V8", False, True), (3, "|", pointer, None, None, 8, 1, 0)


def test_a_pickle_cannot_forge_an_array(tmp_path: Path) -> None:
    """Through numpy's own classes this one reads memory at 0x4141414141414141."""
    layouts.cifar100(tmp_path / "c")
    array = Call(np.ndarray, (), Forged(np.dtype), b"A" * 8)
    (tmp_path / "c/meta").write_bytes(pickle.dumps(Call(np.ndarray, array)))
    code = (
        "import sys; from pathlib import Path; from shards.convert.sources import list_source\n"
        "from shards.errors import InputError\n"
        "try: list_source('cifar100', Path(sys.argv[1]))\n"
        "except InputError: sys.exit(3)"
    )
    assert subprocess.run([sys.executable, "-c", code, tmp_path / "c"]).returncode == 3


@pytest.mark.parametrize(
    "document",
    [
        {"data": np.zeros((2, 3072), np.uint8), "fine_labels": [0]},
        {"data": np.zeros((2, 3072), np.uint8), "fine_labels": [0, 3]},
        {"data": np.zeros((2, 3072), np.uint8), "fine_labels": [0, -1]},
        {"data": np.zeros((2, 3071), np.uint8), "fine_labels": [0, 1]},
        {"data": np.zeros((2, 3072), np.int8), "fine_labels": [0, 1]},
        {"fine_labels": []},
    ],
)
def test_a_cifar_batch_that_does_not_fit_is_refused(tmp_path: Path, document: object) -> None:
    layouts.cifar100(tmp_path / "c")
    (tmp_path / "c/train").write_bytes(pickle.dumps(document, 2))
    with pytest.raises(InputError, match="train"):
        list_source("cifar100", tmp_path / "c")


def test_tiny_imagenet_labels_are_in_wnids_order_with_words_as_names(tmp_path: Path) -> None:
    layouts.tiny_imagenet(tmp_path / "t")
    listing = list_source("tiny-imagenet", tmp_path / "t")
    assert listing.classes == ("cup", "crane, bird of the marshes", "crane, lifting machine")
    assert ("train", "cup", "train/n03/images/n03_1.JPEG") in rows(listing)
    assert ("val", "crane, lifting machine", "val/images/val_1.JPEG") in rows(listing)
    assert len(listing.items) == 9
    assert [item.source for item in listing.missing] == ["val/images/val_9.JPEG"]
    assert listing.notes == ("test: 3 images without labels, not sharded",)


def test_tiny_imagenet_says_what_it_passes_over(tmp_path: Path) -> None:
    layouts.tiny_imagenet(tmp_path / "t")
    (tmp_path / "t/train/n02").rename(tmp_path / "t/train/n99")
    (tmp_path / "t/val/val_annotations.txt").unlink()
    assert list_source("tiny-imagenet", tmp_path / "t").notes == (
        "train: 1 classes of wnids.txt have no images: n02",
        "train: 1 folders are not in wnids.txt: n99",
        "val: has no val_annotations.txt, not sharded",
        "test: 3 images without labels, not sharded",
    )


def test_synsets_with_equal_words_are_told_apart_by_their_wnid(tmp_path: Path) -> None:
    layouts.tiny_imagenet(tmp_path / "t")
    (tmp_path / "t/words.txt").write_text("n01\tcup\nn02\tcrane\nn03\tcup\n")
    assert list_source("tiny-imagenet", tmp_path / "t").classes == (
        "cup (n03)",
        "cup (n01)",
        "crane",
    )


def test_ucf101_follows_its_lists_and_counts_from_zero(tmp_path: Path) -> None:
    layouts.ucf101(tmp_path / "u")
    listing = list_source("ucf101", tmp_path / "u", fold=1)
    assert listing.classes == ("Archery", "HandStandPushups", "Punch")
    assert rows(listing) == {
        ("train", "Archery", "UCF-101/Archery/v_Archery_g01_c01.avi"),
        ("test", "HandStandPushups", "UCF-101/HandstandPushups/v_HandStandPushups_g01_c01.avi"),
        ("test", "Punch", "UCF-101/Punch/v_Punch_g09_c01.avi"),
    }
    assert [item.source for item in listing.missing] == ["UCF-101/Punch/v_Punch_g01_c01.avi"]


def test_ucf101_folds_differ_and_a_fold_without_videos_is_an_error(tmp_path: Path) -> None:
    layouts.ucf101(tmp_path / "u")
    with pytest.raises(InputError, match="none of the 4 listed videos"):
        list_source("ucf101", tmp_path / "u", fold=2)
    with pytest.raises(UsageError, match="fold 4"):
        list_source("ucf101", tmp_path / "u", fold=4)


def test_the_folder_that_a_ucf101_layout_lacks_is_named(tmp_path: Path) -> None:
    layouts.ucf101(tmp_path / "u")
    official, other = tmp_path / "u/ucfTrainTestlist", tmp_path / "u/splits"
    official.rename(other)
    assert len(list_source("ucf101", tmp_path / "u").items) == 3
    (other / "classInd.txt").unlink()  # then they are another dataset's
    with pytest.raises(InputError, match=r"u/ucfTrainTestlist: no such folder$") as caught:
        list_source("ucf101", tmp_path / "u")
    assert "ucfTrainTestlist/*.txt" in str(caught.value.hint)
    other.rename(official)
    with pytest.raises(InputError, match=r"u/ucfTrainTestlist/classInd\.txt: no such file$"):
        list_source("ucf101", tmp_path / "u")


@pytest.mark.parametrize("line", ["Golf/v_Golf_g01_c01.avi", "Punch/../../x.avi", "x.avi"])
def test_a_ucf101_list_that_leaves_its_classes_is_refused(tmp_path: Path, line: str) -> None:
    layouts.ucf101(tmp_path / "u")
    (tmp_path / "u/ucfTrainTestlist/testlist01.txt").write_text(line)
    with pytest.raises(InputError, match=r"testlist01.txt:1: .* is not in a class"):
        list_source("ucf101", tmp_path / "u")


def test_kinetics_folders(tmp_path: Path) -> None:
    for name in ("train/arm wrestling/a_000001_000011.mp4", "val/yoga/b_000000_000010.mp4"):
        (tmp_path / "k" / name).parent.mkdir(parents=True)
        (tmp_path / "k" / name).touch()
    listing = list_source("kinetics", tmp_path / "k")
    assert (listing.name, listing.classes) == ("kinetics", ("arm wrestling", "yoga"))
    assert [item.key for item in listing.items] == [
        "train_arm_wrestling_a_000001_000011",
        "val_yoga_b_000000_000010",
    ]
    one = list_source("kinetics", tmp_path / "k/val")
    assert [(item.split, item.source) for item in one.items] == [
        ("val", "yoga/b_000000_000010.mp4")
    ]


HEADER = "label,youtube_id,time_start,time_end,split,is_cc\n"


@pytest.mark.parametrize(
    "place",
    ["{0}.mp4", "arm_wrestling/{0}.mp4", "train/arm wrestling/{0}.mkv", "train/{0}.webm"],
)
@pytest.mark.parametrize("table", ["kinetics_train.csv", "annotations/train.csv"])
def test_kinetics_csv_finds_its_videos_and_counts_the_absent(tmp_path, place, table) -> None:
    root = tmp_path / "k"
    (root / "annotations").mkdir(parents=True)
    rows_ = (
        '"arm wrestling",-ab_c,7,17,train,0\nyoga,gone,0,10,train,1\nyoga,kept,3,13,validate,0\n'
    )
    (root / table).write_text("\ufeff" + HEADER + rows_)
    for name in (place.format("-ab_c_000007_000017"), "val/yoga/kept_000003_000013.mp4"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"listing does not look inside")
    listing = list_source("kinetics", root)
    assert listing.classes == ("arm wrestling", "yoga")
    assert rows(listing) == {
        ("train", "arm wrestling", place.format("-ab_c_000007_000017")),
        ("val", "yoga", "val/yoga/kept_000003_000013.mp4"),
    }
    assert [item.key for item in listing.items] == ["-ab_c_000007_000017", "kept_000003_000013"]
    assert [item.source for item in listing.missing] == ["yoga/gone_000000_000010"]


def test_a_kinetics_clip_may_have_two_labels_and_a_thumbnail(tmp_path: Path) -> None:
    (tmp_path / "val.csv").write_text(
        HEADER + "yoga,a,0,10,val,0\nsailing,a,0,10,val,0\nyoga,b,0,10,val,0\n"
    )
    os.mkfifo(tmp_path / "pipe.csv")
    for name in ("x/y/z/a_000000_000010.mp4", "x/y/z/a_000000_000010.jpg", "b_000000_000010.MP4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    listing = list_source("kinetics", tmp_path)
    assert [(item.key, listing.classes[item.label], item.source) for item in listing.items] == [
        ("a_000000_000010_val_sailing", "sailing", "x/y/z/a_000000_000010.mp4"),
        ("a_000000_000010_val_yoga", "yoga", "x/y/z/a_000000_000010.mp4"),
        ("b_000000_000010", "yoga", "b_000000_000010.MP4"),
    ]
    assert listing.notes[1] == "1 video listed more than once: a_000000_000010"


def test_a_damaged_kinetics_csv_is_refused_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "val.csv").write_text(HEADER + "yoga,a,0,10,val,0\nyoga,a,zero,10,val,0\n")
    with pytest.raises(InputError, match=r"val.csv:3: not a row"):
        list_source("kinetics", tmp_path)


def test_folders_without_splits_are_all_train(tmp_path: Path) -> None:
    layouts.videofolder(tmp_path / "my clips", 1)
    (tmp_path / "my clips/empty").mkdir()
    (tmp_path / "my clips/run/deeper").mkdir()
    listing = list_source("videofolder", tmp_path / "my clips")
    assert (listing.name, listing.kind) == ("my-clips", "video")
    assert listing.classes == ("empty", "left hand", "run")
    assert listing.flip_unsafe == ("left hand",)
    assert [item.key for item in listing.items] == ["left_hand_0", "run_0"]
    assert listing.notes == ("1 folder within class folders, not looked into: run/deeper",)


def test_folders_with_splits_share_their_classes(tmp_path: Path) -> None:
    layouts.imagefolder(tmp_path / "pets", 1)
    write_image(tmp_path / "pets/val/ant/0.png", make_frames(1)[0])
    (tmp_path / "pets/other").mkdir()
    (tmp_path / "pets/licence.txt").touch()
    (tmp_path / "pets/train/stray.png").touch()
    (tmp_path / "pets/val/ant/.hidden").touch()
    listing = list_source("imagefolder", tmp_path / "pets")
    assert listing.classes == ("ant", "cat", "dog")
    assert [item.source for item in listing.items] == [
        "train/cat/0.png",
        "train/dog/0.png",
        "val/ant/0.png",
        "val/cat/0.png",
        "val/dog/0.png",
    ]
    assert listing.notes == (
        "2 files beside the class folders, not sharded: licence.txt, train/stray.png",
        "not a split, not sharded: other",
    )


def test_links_that_lead_nowhere_are_items_not_the_end(tmp_path: Path) -> None:
    layouts.imagefolder(tmp_path / "pets", 1, ("train",))
    for name in ("train/cat/loop", "train/loop"):
        (tmp_path / "pets" / name).symlink_to("loop")
    listing = list_source("imagefolder", tmp_path / "pets")
    assert "train/cat/loop" in {item.source for item in listing.items}
    assert listing.classes == ("cat", "dog")


@pytest.mark.parametrize("source", list(SOURCES))
def test_a_missing_and_an_empty_folder_are_one_line_with_the_layout(tmp_path, source) -> None:
    for root in (tmp_path / "none", tmp_path):
        with pytest.raises(InputError) as caught:
            list_source(source, root)
        assert "\n" not in caught.value.message
        assert "expected:" in (caught.value.hint or "")


def test_an_unknown_dataset_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match="'ucf' is known — did you mean 'ucf101'") as caught:
        list_source("ucf", Path())
    assert (caught.value.hint or "").startswith("the datasets are cifar10, ")
