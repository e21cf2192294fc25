"""Tars of others are indexed where they are, and read the same by index and from end to end."""

import hashlib
import json
import os
import tarfile
from contextlib import suppress
from pathlib import Path

import pytest
from foreign_tars import clips, image, images, plain_files, write_shards, write_tar
from layouts import videofolder
from media import make_frames, write_image

from shards import open_dataset
from shards.convert.dataset import convert
from shards.convert.foreign.index import index_tars, prepare_index
from shards.convert.verify import verify
from shards.errors import InputError, UsageError
from shards.manifest import read_dataset_info
from shards.stream.reader import Sample
from shards.stream.tarstream import stream_samples


def by_index(folder: Path, split: str = "train") -> list[Sample]:
    samples = open_dataset(folder)[split]
    return [samples[i] for i in range(len(samples))]


def from_end_to_end(folder: Path, split: str = "train") -> list[Sample]:
    info = read_dataset_info(folder)
    tars = [folder / shard.file for shard in info.splits[split].shards]
    fps = info.options["fps"]
    return list(stream_samples(tars, classes=info.classes, kind=info.kind, fps=fps))


def fingerprints(folder: Path) -> dict[str, tuple[int, str]]:
    return {
        path.name: (path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in folder.rglob("*.tar")
    }


def test_images_with_numbers(tmp_path: Path) -> None:
    write_shards(tmp_path / "set/pets-train-%06d.tar", images(10))
    write_shards(tmp_path / "set/pets-val-%06d.tar", images(3, first=50))
    before = fingerprints(tmp_path / "set")
    report = index_tars(tmp_path / "set")
    assert (report.dataset, report.kind, report.classes) == ("set", "image", ("0", "1", "2"))
    assert {name: row["samples"] for name, row in report.splits.items()} == {"train": 10, "val": 3}
    assert (report.listed, report.written, report.skipped, report.notes) == (13, 13, 0, ())
    for split in ("train", "val"):
        assert by_index(tmp_path / "set", split) == from_end_to_end(tmp_path / "set", split)
    first = by_index(tmp_path / "set")[4]
    assert (first.key, first.label, first.frames) == ("000004", 1, [image(seed=4)])
    assert (first.width, first.height, first.fps, first.class_name) == (24, 16, 0.0, "1")
    assert verify(tmp_path / "set").ok
    assert fingerprints(tmp_path / "set") == before


@pytest.mark.parametrize("form", ["{:06d}.jpg", "frame_{:04d}.jpg", "{}.JPG"])
def test_videos_of_an_image_a_frame(tmp_path: Path, form: str) -> None:
    write_shards(tmp_path / "set/a-%d.tar", clips(6, 12, form))
    report = index_tars(tmp_path / "set")
    assert (report.kind, report.classes) == ("video", ("run", "walk"))
    assert by_index(tmp_path / "set") == from_end_to_end(tmp_path / "set")
    clip = by_index(tmp_path / "set")[3]
    assert (clip.class_name, clip.fps) == ("walk", 12.5)
    assert clip.frames == [image(seed=30 + t) for t in range(12)]
    assert verify(tmp_path / "set").ok


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_and_foreign_names_classes_by_name_and_every_codec(tmp_path: Path, form: int) -> None:
    files = []
    for number, (ending, codec) in enumerate({"JPEG": "JPEG", "png": "PNG", "ppm": "PPM"}.items()):
        key = f"{'folder/' * 30}кот {number}"
        name = ("tabby cat", "hound", "tabby cat")[number]
        files += [(f"{key}.{ending}", image(codec, number)), (f"{key}.txt", name.encode())]
    write_tar(tmp_path / "set/x.tar", files, form)
    report = index_tars(tmp_path / "set")
    assert report.classes == ("hound", "tabby cat")
    samples = by_index(tmp_path / "set")
    assert samples == from_end_to_end(tmp_path / "set")
    assert [(each.codec, each.label) for each in samples] == [("jpg", 1), ("png", 0), ("ppm", 1)]
    assert len({each.key for each in samples}) == 3
    assert verify(tmp_path / "set").ok


@pytest.mark.parametrize("layout", ["mjpg", "frames"])
def test_our_own_tars_without_their_manifest(tmp_path: Path, layout: str) -> None:
    videofolder(tmp_path / "set")
    convert("videofolder", tmp_path / "set", tmp_path / "ours", layout=layout)
    ours = by_index(tmp_path / "ours")
    (tmp_path / "theirs").mkdir()
    for path in (tmp_path / "ours").glob("*.tar"):
        path.rename(tmp_path / "theirs" / path.name)
    index_tars(tmp_path / "theirs")
    assert by_index(tmp_path / "theirs") == ours == from_end_to_end(tmp_path / "theirs")
    assert read_dataset_info(tmp_path / "theirs").flip_unsafe == ("left hand",)
    assert verify(tmp_path / "theirs").ok


def test_class_names_from_a_file_beside_the_tars_or_given(tmp_path: Path) -> None:
    write_shards(tmp_path / "set/a-%d.tar", images(6))
    (tmp_path / "set/classes.txt").write_text("cat\ndog\ncow\n")
    assert index_tars(tmp_path / "set").classes == ("cat", "dog", "cow")
    (tmp_path / "names.json").write_text(json.dumps(["a", "b", "c", "d"]))
    report = index_tars(tmp_path / "set", classes=tmp_path / "names.json")
    assert (report.classes, report.reused) == (("a", "b", "c", "d"), 0)
    assert report.notes[-1] == "1 of 4 classes have no sample: d"
    assert by_index(tmp_path / "set")[2].class_name == "c"
    for text in ("a\nb\na\n", "", "{", '{"a": 1}'):
        bad = tmp_path / ("bad.json" if "{" in text else "bad.txt")
        bad.write_text(text)
        with pytest.raises(InputError, match=r"bad\.(txt|json): "):
            index_tars(tmp_path / "set", classes=bad)


def test_labels_beyond_the_classes_are_left_out(tmp_path: Path) -> None:
    write_shards(tmp_path / "set/a-%d.tar", images(6))
    (tmp_path / "two.txt").write_text("cat\ndog\n")
    report = index_tars(tmp_path / "set", classes=tmp_path / "two.txt")
    assert (report.written, report.skipped) == (4, 2)
    assert report.reasons[0] == "a-0.tar:000002: label 2 is none of the 2 classes"
    assert verify(tmp_path / "set").ok


def test_numbers_and_names_that_do_not_go_together(tmp_path: Path) -> None:
    data = image()
    both = [("a.jpg", data), ("a.cls", b"0"), ("b.jpg", data), ("b.txt", b"cat")]
    write_tar(tmp_path / "mixed/a.tar", both)
    with pytest.raises(InputError, match="some labels are numbers, such as 0, others only names"):
        index_tars(tmp_path / "mixed")
    twice = [
        file
        for key, name in (("a", "cat"), ("b", "dog"))
        for file in (
            (f"{key}.jpg", data),
            (f"{key}.json", json.dumps({"label": 0, "class": name}).encode()),
        )
    ]
    write_tar(tmp_path / "odd/a.tar", twice)
    report = index_tars(tmp_path / "odd")
    assert report.classes == ("0",)
    assert "do not fit the numbers one to one" in report.notes[-1]


def test_splits_are_told_by_names_then_folders_or_chosen(tmp_path: Path) -> None:
    names = ("train/x-val-0.tar", "training/0.tar", "validation/a/0.tar", "test/1.tar")
    for name in names:
        write_tar(tmp_path / "set" / name, plain_files(2))
    (tmp_path / "set/.hidden").mkdir()
    write_tar(tmp_path / "set/.hidden/train.tar", plain_files(1))
    found = prepare_index(tmp_path / "set", tmp_path / "out").found
    assert {tar.source: tar.split for tar in found.tars} == {
        "training/0.tar": "train",
        "train/x-val-0.tar": "val",
        "validation/a/0.tar": "val",
        "test/1.tar": "test",
    }
    choices = ["dev=*/0.tar", "fit=x-*"]
    found = prepare_index(tmp_path / "set", tmp_path / "out", splits=choices).found
    assert [(tar.split, tar.source) for tar in found.tars] == [
        ("dev", "training/0.tar"),
        ("dev", "validation/a/0.tar"),
        ("fit", "train/x-val-0.tar"),
    ]
    assert found.notes == ("1 tar fit no --split, not looked into: test/1.tar",)
    for choice in ("train", "=x", "a b=*", "train=none*"):
        with pytest.raises(UsageError):
            prepare_index(tmp_path / "set", splits=[choice])
    with pytest.raises(UsageError, match=r"0\.tar fits a and b"):
        prepare_index(tmp_path / "set", splits=["a=*/0.tar", "b=*"])


def test_names_that_tell_no_split_and_some_that_do(tmp_path: Path) -> None:
    write_tar(tmp_path / "set/000.tar", plain_files(2))
    report = index_tars(tmp_path / "set")
    assert list(report.splits) == ["train"]
    assert "all are train" in report.notes[0]
    write_tar(tmp_path / "set/val-000.tar", plain_files(2))
    with pytest.raises(
        InputError, match=r"000\.tar: its name tells no split, that of val-000"
    ) as e:
        index_tars(tmp_path / "set")
    assert e.value.hint.startswith("--split")


def test_an_index_elsewhere_links_to_the_tars(tmp_path: Path) -> None:
    write_shards(tmp_path / "far/train/%d.tar", images(5))
    write_shards(tmp_path / "far/val/%d.tar", images(3))
    with pytest.raises(InputError, match=r"train/0\.tar is in a folder below it") as caught:
        index_tars(tmp_path / "far")
    assert "-o" in caught.value.hint
    before = fingerprints(tmp_path / "far")
    assert index_tars(tmp_path / "far", tmp_path / "near").written == 8
    assert by_index(tmp_path / "near") == from_end_to_end(tmp_path / "near")
    assert verify(tmp_path / "near").ok
    assert (tmp_path / "near/train-0.tar").readlink() == tmp_path / "far/train/0.tar"
    assert fingerprints(tmp_path / "far") == before
    assert {path.name for path in (tmp_path / "far").iterdir()} == {"train", "val"}
    (tmp_path / "far/train/1.tar").unlink()
    assert index_tars(tmp_path / "far", tmp_path / "near").reused == 2
    assert not (tmp_path / "near/train-1.tar").is_symlink()
    assert not (tmp_path / "near/train-1.tar.index").exists()
    assert verify(tmp_path / "near").ok


def test_folders_that_are_of_no_use(tmp_path: Path) -> None:
    write_tar(tmp_path / "set/a.tar", plain_files(2))
    (tmp_path / "full").mkdir()
    (tmp_path / "full/notes").touch()
    with pytest.raises(InputError, match="holds notes, which is not part of an index"):
        index_tars(tmp_path / "set", tmp_path / "full")
    with pytest.raises(InputError, match="lies within"):
        index_tars(tmp_path / "set", tmp_path / "set/inner")
    write_image(tmp_path / "pets/cat/1.png", make_frames(1)[0])
    convert("imagefolder", tmp_path / "pets", tmp_path / "ours")
    with pytest.raises(InputError, match="is a folder of shards already"):
        index_tars(tmp_path / "ours")
    (tmp_path / "set/a.tar.index").write_text("of someone else")
    with pytest.raises(InputError, match=r"a\.tar\.index: is in the way"):
        index_tars(tmp_path / "set")
    for path, message in (("none", "no such folder"), ("full", "holds no tar")):
        with pytest.raises(InputError, match=message):
            index_tars(tmp_path / path)
    (tmp_path / "full/a.tar.gz").touch()
    with pytest.raises(InputError, match=r"only compressed ones such as a\.tar\.gz"):
        index_tars(tmp_path / "full")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    write_tar(tmp_path / "set/a.tar", plain_files(2))
    (tmp_path / "set").chmod(0o555)
    with pytest.raises(InputError, match="cannot be written") as caught:
        index_tars(tmp_path / "set")
    assert "-o" in caught.value.hint
    assert index_tars(tmp_path / "set", tmp_path / "out").written == 2


def test_only_what_is_new_or_changed_is_walked(tmp_path: Path) -> None:
    write_shards(tmp_path / "set/a-%d.tar", images(12))
    assert index_tars(tmp_path / "set").reused == 0
    everything = {path.name: path.read_bytes() for path in (tmp_path / "set").iterdir()}
    assert index_tars(tmp_path / "set").reused == 3
    assert {path.name: path.read_bytes() for path in (tmp_path / "set").iterdir()} == everything
    (tmp_path / "set/a-1.tar.index").write_bytes(everything["a-1.tar.index"][:-5])
    assert index_tars(tmp_path / "set").reused == 2
    assert {path.name: path.read_bytes() for path in (tmp_path / "set").iterdir()} == everything
    write_tar(tmp_path / "set/a-1.tar", plain_files(7))
    report = index_tars(tmp_path / "set")
    assert (report.reused, report.written) == (2, 4 + 7 + 4)
    assert verify(tmp_path / "set").ok
    assert index_tars(tmp_path / "set", name="other").reused == 3
    assert not (tmp_path / "set/set-train.index").exists()


@pytest.mark.parametrize("place", [40, 200, 400, -300, -20])
def test_a_record_with_a_changed_bit_is_never_believed(tmp_path: Path, place: int) -> None:
    write_tar(tmp_path / "set/a.tar", plain_files(7))
    index_tars(tmp_path / "set")
    record = tmp_path / "set/a.tar.index"
    data = bytearray(record.read_bytes())
    data[place] ^= 1
    record.write_bytes(data)
    assert [problem.kind for problem in verify(tmp_path / "set").problems] == ["manifest"]
    with suppress(InputError):  # else it was made anew
        index_tars(tmp_path / "set")
        assert verify(tmp_path / "set").ok
    record.unlink()
    index_tars(tmp_path / "set")
    assert verify(tmp_path / "set").ok


def test_what_a_killed_process_left_is_removed_once_it_is_old(tmp_path: Path) -> None:
    write_tar(tmp_path / "set/a.tar", plain_files(2))
    old, new, theirs = (
        tmp_path / "set" / name
        for name in (".a.tar.index.0123456789abcdef.tmp", f".b.json.{'f' * 16}.tmp", ".note.tmp")
    )
    for path in (old, new, theirs):
        path.touch()
    for path in (old, theirs):
        os.utime(path, (0, 0))
    index_tars(tmp_path / "set")
    assert [path.exists() for path in (old, new, theirs)] == [False, True, True]


def test_processes_give_what_one_gives(tmp_path: Path) -> None:
    write_shards(tmp_path / "set/a-%d.tar", images(12))
    prepare_index(tmp_path / "set").run(workers=1)
    alone = {path.name: path.read_bytes() for path in (tmp_path / "set").iterdir()}
    for path in (tmp_path / "set").glob("*.index"):
        path.unlink()
    seen: list[tuple[int, int]] = []
    prepare_index(tmp_path / "set").run(workers=2, on_progress=lambda *at: seen.append(at))
    assert {path.name: path.read_bytes() for path in (tmp_path / "set").iterdir()} == alone
    assert seen == [(0, 3), (1, 3), (2, 3), (3, 3)]


def test_a_checksum_is_kept_and_checked_if_asked_for(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "set/a.tar", [*plain_files(2), ("k1.note", b"as it was")])
    index_tars(tmp_path / "set")
    shard = read_dataset_info(tmp_path / "set").splits["train"].shards[0]
    assert shard.sha256 is None
    index_tars(tmp_path / "set", checksum=True)
    shard = read_dataset_info(tmp_path / "set").splits["train"].shards[0]
    assert shard.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    path.write_bytes(path.read_bytes().replace(b"as it was", b"otherwise"))
    assert [problem.kind for problem in verify(tmp_path / "set").problems] == ["checksum"]


def test_images_and_videos_in_one_folder(tmp_path: Path) -> None:
    write_shards(tmp_path / "set/i-%d.tar", images(3))
    write_shards(tmp_path / "set/v-%d.tar", clips(2))
    with pytest.raises(InputError, match="holds 3 images and 2 videos") as caught:
        index_tars(tmp_path / "set")
    assert "--kind" in caught.value.hint
    report = index_tars(tmp_path / "set", kind="image")
    assert (report.written, report.skipped) == (3, 2)
    assert report.reasons[0] == "v-0.tar:clip0: has 5 images instead of one"
    report = index_tars(tmp_path / "set", kind="video")
    assert (report.kind, report.written, report.skipped) == ("video", 2, 3)
    assert verify(tmp_path / "set").ok


def test_a_rate_that_no_video_tells(tmp_path: Path) -> None:
    samples = [{**clip, "json": {"label": 0}} for clip in clips(2)]
    write_shards(tmp_path / "set/v-%d.tar", samples)
    report = index_tars(tmp_path / "set")
    assert "2 videos do not tell their frames per second" in report.notes[-1]
    assert by_index(tmp_path / "set")[0].fps == 0
    report = index_tars(tmp_path / "set", fps=30)
    assert "frames per second" not in " ".join(report.notes)
    assert by_index(tmp_path / "set") == from_end_to_end(tmp_path / "set")
    assert by_index(tmp_path / "set")[0].fps == 30
    assert verify(tmp_path / "set").ok


def test_the_same_samples_in_two_tars_are_told(tmp_path: Path) -> None:
    for name in ("train-0.tar", "val-0.tar"):
        write_tar(tmp_path / "set" / name, plain_files(2))
    report = index_tars(tmp_path / "set")
    assert report.notes == ("1 tar with the same samples as another: val-0.tar as train-0.tar",)
    assert verify(tmp_path / "set").ok
