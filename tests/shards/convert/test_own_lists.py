"""A user's own lists: csv with and without a header, `path label`, folders of frames."""

import hashlib
import json
import os
import tarfile
from pathlib import Path

import pytest
from media import make_frames, write_image, write_video

from shards.convert.dataset import convert
from shards.convert.items import Listing
from shards.convert.sources import list_source
from shards.convert.verify import verify
from shards.errors import InputError, UsageError
from shards.stream.dataset import open_dataset


def rows(listing: Listing) -> list[tuple[str, str, str]]:
    return [(item.split, listing.classes[item.label], item.source) for item in listing.items]


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """A folder with two short videos."""
    root = tmp_path / "clips"
    write_video(root / "videos/jump.mp4", make_frames(50))
    write_video(root / "videos/my run.mp4", make_frames(5, seed=1))
    return root


def test_a_csv_with_a_header_names_labels_and_splits(clips: Path) -> None:
    (clips / "list.csv").write_text(
        "label,path,split,note\n"
        "run,videos/my run.mp4,validation,x\n\n"
        'jump,"videos/jump.mp4",train,y\n'
        "jump,videos/jump.mp4,train,again\n"
        "jump,videos/gone.mp4,test,z\n"
    )
    listing = list_source("csv", clips / "list.csv")
    assert (listing.name, listing.kind, listing.classes) == ("list", "video", ("jump", "run"))
    assert listing.class_source == "labels of the lists, sorted"
    assert rows(listing) == [
        ("train", "jump", "videos/jump.mp4"),
        ("val", "run", "videos/my run.mp4"),
    ]
    assert [(row.source, row.split) for row in listing.missing] == [("videos/gone.mp4", "test")]
    assert listing.duplicates == {"train": 1}


@pytest.mark.parametrize("labels", [("jump", "run"), ("10", "2")])
def test_a_header_with_other_names_is_no_class(clips: Path, labels: tuple[str, str]) -> None:
    lines = f"videos/jump.mp4,{labels[0]}\nvideos/my run.mp4,{labels[1]}\n"
    (clips / "list.csv").write_text(f"video,label\n{lines}")
    with pytest.raises(InputError, match="csv:1: `video`, `label` looks like a header"):
        list_source("csv", clips / "list.csv")
    (clips / "list.csv").write_text(f"gone.mp4,label\n{lines}")
    assert len(list_source("csv", clips / "list.csv").missing) == 1


def test_a_file_with_two_labels_is_two_samples(clips: Path) -> None:
    (clips / "a.csv").write_text("videos/jump.mp4,up\nvideos/jump.mp4,down\n")
    listing = list_source("csv", clips / "a.csv")
    assert [item.key for item in listing.items] == ["jump_train_down", "jump_train_up"]
    assert listing.duplicates == {}
    assert listing.notes == ("1 file listed with several labels or splits: videos/jump.mp4",)


@pytest.mark.parametrize("folder", ["videos", "."])
def test_path_label_lists_with_numbers_and_a_label_map(clips: Path, folder: str) -> None:
    """Of mmaction2 and SlowFast; paths start at the lists or at the folder of the split."""
    (clips / "label_map.txt").write_text("jumping\nrunning\nwaiting\n")
    prefix = "" if folder == "videos" else "videos/"
    (clips / "my_train_list.txt").write_text(f"{prefix}jump.mp4 0\n")
    (clips / "my_val_list.txt").write_text(f"{prefix}my run.mp4 1\n")
    if folder == "videos":
        for split in ("train", "val"):
            (clips / split).symlink_to("videos")
    listing = list_source("csv", clips)
    assert (listing.name, listing.class_source) == ("clips", "label_map.txt, in its order")
    assert [row[:2] for row in rows(listing)] == [("train", "jumping"), ("val", "running")]
    assert listing.classes[2] == "waiting"


def test_numbers_without_names_are_their_own_names(clips: Path) -> None:
    (clips / "train.csv").write_text(f"{clips}/videos/jump.mp4 3\n")
    listing = list_source("csv", clips)
    assert listing.classes == ("0", "1", "2", "3")
    assert rows(listing) == [("train", "3", "videos/jump.mp4")]


def test_a_list_of_images_makes_an_image_dataset(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", make_frames(1)[0])
    (tmp_path / "test.csv").write_text("gone.png,cat\na.png,cat\n")
    listing = list_source("csv", tmp_path / "test.csv")
    assert (listing.kind, [item.split for item in listing.items]) == ("image", ["test"])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a.mp4", "expected path,label"),
        ("a.mp4,", "expected path,label"),
        (",run", "expected path,label"),
        ("a.mp4,run,trian", "split `trian`: use one of train, val, test"),
        ("a.mp4,run,train,1,2,3", "has 6 fields, not up to 5"),
        ("a.mp4,run,train,1,", "start `1` and end `` are not seconds"),
        ("a.mp4,run,train,0:01,0:02", "start `0:01` and end `0:02` are not seconds"),
        ("a.mp4,run,train,2,1", "start 2 and end 1 are no part of a video"),
        ("a.mp4,run,train,-1,1", "are no part of a video"),
        ("a.mp4,run,train,nan,inf", "are no part of a video"),
    ],
)
def test_a_damaged_line_is_named_with_its_number(clips: Path, line: str, message: str) -> None:
    (clips / "l.csv").write_text(f"videos/jump.mp4,jump\n\n{line}\n")
    with pytest.raises(InputError) as caught:
        list_source("csv", clips / "l.csv")
    assert caught.value.message.startswith(f"{clips / 'l.csv'}:3: ")
    assert message in caught.value.message


def test_labels_beyond_the_class_list_and_unclear_folders_are_refused(clips: Path) -> None:
    (clips / "train.txt").write_text("videos/jump.mp4 0\nvideos/jump.mp4 2\n")
    (clips / "classes.txt").write_text("a\nb\n")
    with pytest.raises(InputError, match=r"train.txt:2: `2` is none of the 2 classes"):
        list_source("csv", clips)
    (clips / "labels.txt").write_text("a\nb\n")
    with pytest.raises(InputError, match="several lists of classes"):
        list_source("csv", clips)
    (clips / "labels.txt").unlink()
    (clips / "classes.txt").write_text("a\na\n")
    with pytest.raises(InputError, match="names a class twice"):
        list_source("csv", clips)
    (clips / "train.txt").rename(clips / "all.txt")
    with pytest.raises(InputError, match="holds no list of train, val or test"):
        list_source("csv", clips)


def test_segments_become_samples_of_their_own(clips: Path, tmp_path: Path) -> None:
    (clips / "cuts.csv").write_text(
        "path,label,split,start,end\n"
        "videos/jump.mp4,up,train,0.4,1.2\n"
        "videos/jump.mp4,down,train,1.2,1.6\n"
        "videos/jump.mp4,down,train,7,8\n"
        "videos/jump.mp4,all,val,,\n"
    )
    report = convert("csv", clips / "cuts.csv", tmp_path / "out")
    assert (report.listed, report.written, report.skipped) == (4, 3, 1)
    (skipped,) = (tmp_path / "out/skipped.jsonl").read_text().splitlines()
    assert json.loads(skipped)["source"] == "videos/jump.mp4#t=7,8"
    assert json.loads(skipped)["reason"] == "holds no frame"
    dataset = open_dataset(tmp_path / "out")
    train, whole = dataset["train"], dataset["val"][0].frames
    assert [train[n].key for n in range(2)] == ["jump_00000400_00001200", "jump_00001200_00001600"]
    assert train[0].frames == whole[10:30]  # at 25 frames per second
    assert train[1].frames == whole[30:40]
    assert verify(tmp_path / "out").ok


@pytest.fixture
def stills(tmp_path: Path) -> Path:
    """Two folders of 6 JPEG frames, one with optical flow beside them, and a list of each split."""
    root = tmp_path / "stills"
    for place, name in enumerate(("b c/clip", "flow")):
        for number, frame in enumerate(make_frames(6, seed=place), start=1):
            write_image(root / name / f"img_{number:05d}.jpg", frame, quality=70 + number)
    write_image(root / "flow/flow_x_00001.jpg", make_frames(1)[0])
    (root / "train_list.txt").write_text("b c/clip 6 1\ngone 4 0\n")
    (root / "val_list.txt").write_text("flow 2 3 0\n")
    return root


def test_frames_are_copied_untouched(stills: Path, tmp_path: Path) -> None:
    report = convert("frames", stills, tmp_path / "out", fps=12.5)
    assert (report.listed, report.written, report.missing) == (3, 2, 1)
    dataset = open_dataset(tmp_path / "out")
    clip, part = dataset["train"][0], dataset["val"][0]
    paths = sorted((stills / "b c/clip").iterdir())
    assert clip.frames == [path.read_bytes() for path in paths]
    with tarfile.open(tmp_path / "out/stills-train-000000.tar") as tar:
        document = json.load(tar.extractfile("clip.json"))
    content = b"".join(path.read_bytes() for path in paths)
    assert document["sha256"] == hashlib.sha256(content).hexdigest()
    assert (clip.key, clip.label, clip.fps) == ("clip", 1, 12.5)
    wanted = [stills / f"flow/img_{number:05d}.jpg" for number in (3, 4, 5)]
    assert part.frames == [path.read_bytes() for path in wanted]
    assert verify(tmp_path / "out").ok
    assert "12.5 frames per second" in report.notes


def test_frames_are_made_smaller_only_on_request(stills: Path, tmp_path: Path) -> None:
    convert("frames", stills, tmp_path / "out", fps=10, short_side=24)
    sample = open_dataset(tmp_path / "out")["train"][0]
    assert (sample.width, sample.height, len(sample.frames)) == (32, 24, 6)
    assert all(frame.startswith(b"\xff\xd8") for frame in sample.frames)
    convert("frames", stills, tmp_path / "same", fps=10, short_side=48)
    assert (
        open_dataset(tmp_path / "same")["train"][0].frames[0]
        == (stills / "b c/clip/img_00001.jpg").read_bytes()
    )


def spoil_number(folder: Path) -> None:
    (folder / "img_00003.jpg").unlink()
    write_image(folder / "img_00007.jpg", make_frames(1)[0])


def spoil_size(folder: Path) -> None:
    write_image(folder / "img_00003.jpg", make_frames(1, 20, 20)[0])


def spoil_bytes(folder: Path) -> None:
    path = folder / "img_00003.jpg"
    path.write_bytes(path.read_bytes()[:-300])


def spoil_kind(folder: Path) -> None:
    (folder / "img_00003.jpg").unlink()
    os.mkfifo(folder / "img_00003.jpg")


def spoil_format(folder: Path) -> None:
    write_image(folder / "img_00003.png", make_frames(1)[0])
    (folder / "img_00003.png").rename(folder / "img_00003.jpg")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda folder: (folder / "img_00006.jpg").unlink(), "has 5 of 6 listed frames"),
        (spoil_number, "lacks a frame between others"),
        (spoil_size, "changes its picture size"),
        (spoil_bytes, "img_00003.jpg: "),
        (spoil_kind, "img_00003.jpg: "),
        (spoil_format, "img_00003.jpg: is no upright RGB or grey JPEG"),
    ],
)
def test_damaged_frames_are_skipped_with_their_reason(stills, tmp_path, spoil, reason) -> None:
    spoil(stills / "b c/clip")
    report = convert("frames", stills, tmp_path / "out", fps=25)
    assert (report.written, report.skipped) == (1, 1)
    assert f'"{reason}' in (tmp_path / "out/skipped.jsonl").read_text().splitlines()[0]


def test_frames_need_a_rate_and_whole_lines(stills: Path) -> None:
    with pytest.raises(UsageError, match="no list tells the rate") as caught:
        list_source("frames", stills)
    assert "--fps" in caught.value.hint
    (stills / "val_list.txt").write_text("flow 3 0\nflow three 0\n")
    with pytest.raises(InputError, match=r"val_list.txt:2: expected `folder \[offset\]"):
        list_source("frames", stills, fps=25)
