"""`ivvit shard` as a user runs it."""

import json
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

import layouts
import pytest
from media import make_frames, write_image, write_video
from PIL import Image

from shards.convert.dataset import convert
from shards.convert.ffmpeg import find_ffmpeg
from shards.convert.parts import Part
from shards.convert.sources import SOURCES


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    layouts.imagefolder(tmp_path / "pets")
    return tmp_path / "pets"


def test_it_converts_and_tells_what_it_did(ivvit, tmp_path: Path, pets: Path) -> None:
    (pets / "val/cat/notes.txt").write_text("no image")
    done = ivvit("shard", "imagefolder", pets, "-o", "out")
    assert done.code == 0
    assert done.stdout.split()[:4] == ["split", "samples", "shards", "size"]
    assert "17 listed, 0 missing, 1 skipped, 16 written to out" in done.stderr
    reason = "is not an image of an allowed format"
    assert f"skipped: val/cat/notes.txt: {reason}\n" in done.stderr
    assert "skipped.jsonl" not in done.stderr  # all of them have been named
    assert "next: ivvit data show out" in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("shard", "imagefolder", "pets", "-o", "s3://bucket/pets"),
        ("shard", "imagefolder", "https://host/pets"),
        ("data", "index", "pets", "-o", "s3://bucket/pets"),
        ("data", "index", "https://host/tars"),
    ],
)
def test_a_url_is_no_folder_of_that_name(ivvit, tmp_path: Path, pets: Path, words) -> None:
    done = ivvit(*words)
    assert (done.code, "://" in done.stderr, "is a URL" in done.stderr) == (2, True, True)
    assert [path.name for path in tmp_path.iterdir()] == ["pets"]


def test_an_interruption_says_that_the_same_command_goes_on(ivvit, tmp_path: Path) -> None:
    layouts.videofolder(tmp_path / "clips", 1)
    asked = f'[ "$1" = -version ] && exec {find_ffmpeg().path} "$@"'
    (tmp_path / "ffmpeg").write_text(f"#!/bin/sh\n{asked}\nkill -INT $PPID\n")
    (tmp_path / "ffmpeg").chmod(0o755)
    ours = {"IVVIT_FFMPEG": str(tmp_path / "ffmpeg")}
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
    try:
        done = ivvit("shard", "videofolder", "clips", "-o", "out", env=ours)
    finally:
        signal.signal(signal.SIGINT, before)
    assert (done.code, "out: interrupted; the same command goes on" in done.stderr) == (130, True)
    assert list((tmp_path / "out").iterdir()) == []


def test_the_next_command_can_be_pasted(ivvit, pets: Path) -> None:
    assert (
        "next: ivvit data show 'my shards'"
        in ivvit("shard", "imagefolder", pets, "-o", "my shards").stderr
    )


def test_json_is_one_document(ivvit, tmp_path: Path, pets: Path) -> None:
    done = ivvit("shard", "imagefolder", pets, "-o", "out", "--json")
    size = (tmp_path / "out/pets-train-000000.tar").stat().st_size
    assert done.json["splits"]["train"] == {"samples": 8, "shards": 1, "bytes": size}
    assert done.json.keys() == {
        *("dataset", "kind", "splits", "classes"),
        *("listed", "written", "missing", "skipped", "duplicate"),
        *("part", "finished", "missing_parts"),
    }


def test_a_dry_run_counts_and_writes_nothing(ivvit, tmp_path: Path, pets: Path) -> None:
    done = ivvit("shard", "imagefolder", pets, "-o", "out", "--dry-run", "--json")
    assert (done.code, done.json["listed"], done.json["splits"]["val"]["samples"]) == (0, 16, 8)
    assert done.json["written"] == 0
    assert not (tmp_path / "out").exists()
    (pets / "val/cat/notes.txt").write_text("no image")
    shown = ivvit("shard", "imagefolder", pets, "-o", "out", "--dry-run")
    assert shown.stderr.endswith(
        "17 listed, 0 missing; nothing was converted\n"
        "note: no image was decoded yet; a file that is none will be skipped\n"
    )


def test_what_was_skipped_can_be_tried_again(ivvit, pets: Path) -> None:
    path, times = pets / "val/cat/0.png", (1, 1)
    good = path.read_bytes()
    path.write_bytes(bytes(len(good)))
    os.utime(path, times)
    assert ivvit("shard", "imagefolder", pets, "-o", "out", "--json").json["skipped"] == 1
    path.write_bytes(good)
    os.utime(path, times)
    assert ivvit("shard", "imagefolder", pets, "-o", "out", "--json").json["skipped"] == 1
    done = ivvit("shard", "imagefolder", pets, "-o", "out", "--retry-failed")
    assert "0 skipped, 16 written" in done.stderr
    assert "already there: 1 shard" in done.stderr


def test_without_o_it_writes_below_the_data_folder(ivvit, tmp_path: Path, pets: Path) -> None:
    assert ivvit("shard", "imagefolder", pets, env={"IVVIT_DATA": "d"}).code == 0
    assert (tmp_path / "d/pets/dataset.json").is_file()


def test_options_reach_the_manifest(ivvit, tmp_path: Path) -> None:
    layouts.videofolder(tmp_path / "clips", 1)
    args = ("--short-side", 24, "--fps", 5, "--quality", 9, "--layout", "frames", "--workers", 1)
    assert ivvit("shard", "videofolder", "clips", "-o", "out", *args).code == 0
    done = ivvit("data", "show", "out", "--json", "-o", "sheet.png")
    assert done.json["options"] == {
        "short_side": 24,
        "fps": 5.0,
        "quality": 9,
        "layout": "frames",
        "fold": None,
        "protocol": None,
        "shard_size": 256 << 20,
    }


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (("imagefolder", "none"), 3, "none: no such folder"),
        (("imagefolder", "pets", "-o", "pets/train"), 2, "taken for the folder of a class"),
        (("imagefolder", "pets", "-o", "."), 3, "which is not part of the shards"),
        (("imagefolder", "pets", "--fold", "1"), 2, "only ucf101 and hmdb51 have folds"),
        (("imagefolder", "pets", "--shard-size", "big"), 2, "--shard-size big"),
        (("imagefolder", "pets", "--on-bad", "maybe"), 2, "on-bad"),
        (("ucf101", "pets", "--fold", "0"), 2, "fold 0"),
        (("ucf11", "pets"), 2, "no dataset 'ucf11' is known — did you mean 'ucf101'?"),
        (("ucf101", "pets"), 3, "pets/ucfTrainTestlist: no such folder"),
        (("videofolder", "pets"), 3, "nothing could be converted: 16 skipped"),
    ],
)
def test_a_wrong_call_is_one_line_and_its_code(ivvit, pets: Path, args, code, message) -> None:
    done = ivvit("shard", *args)
    assert (done.code, done.stdout) == (code, "")
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert message in errors[0]
    assert "Traceback" not in done.stderr


def test_the_first_that_were_skipped_are_named(ivvit, pets: Path) -> None:
    for number in range(4):
        (pets / f"val/cat/{number}.txt").write_text("no image")
    done = ivvit("shard", "imagefolder", pets, "-o", "out")
    assert done.stderr.count("skipped: val/cat/") == 3
    assert "what was left out (0 missing, 4 skipped), and why: out/skipped.jsonl" in done.stderr


def test_it_warns_when_most_is_missing(ivvit, tmp_path: Path) -> None:
    write_image(tmp_path / "0.png", make_frames(1)[0])
    (tmp_path / "train.csv").write_text("0.png,a\n1.png,a\n2.png,b\n")
    done = ivvit("-q", "shard", "csv", "train.csv", "-o", "out")
    assert done.stderr == "warning: most of what is listed is missing: 2 of 3\n"
    told = ivvit("shard", "csv", "train.csv", "-o", "out").stderr
    assert "what was left out (2 missing, 0 skipped), and why: out/skipped.jsonl\n" in told
    assert len((tmp_path / "out/skipped.jsonl").read_text().splitlines()) == 2
    (tmp_path / "train.csv").write_text("0.png,a\n1.png,a\n")
    assert ivvit("-q", "shard", "csv", "train.csv", "-o", "out").stderr == ""


def test_the_wrong_layout_is_named_and_leaves_nothing_in_the_way(ivvit, pets: Path) -> None:
    wrong = ivvit("shard", "videofolder", pets, "-o", "out")
    assert wrong.code == 3
    assert "hint: 16 of them are images: ivvit shard imagefolder SRC\n" in wrong.stderr
    assert ivvit("shard", "imagefolder", pets.rename(pets.with_name("cats")), "-o", "out").code == 0
    (pets / "a").mkdir(parents=True)
    (pets / "a/notes.mp4").write_text("no video")
    other = ivvit("shard", "videofolder", pets, "-o", "other")
    assert "hint: see other/skipped.jsonl\n" in other.stderr


def test_the_wrong_layout_is_named_among_a_few_other_files(ivvit_here, tmp_path: Path) -> None:
    layouts.videofolder(tmp_path / "clips", 2)
    write_video(tmp_path / "mixed/a/0.mp4", make_frames(3))
    for notes in ("clips/run/notes.txt", "mixed/a/notes.txt"):
        (tmp_path / notes).write_text("no video")
    wrong = ivvit_here("shard", "imagefolder", "clips", "-o", "out")
    assert "hint: 4 of them are videos: ivvit shard videofolder SRC\n" in wrong.stderr
    half = ivvit_here("shard", "imagefolder", "mixed", "-o", "half")
    assert "hint: see half/skipped.jsonl\n" in half.stderr


def test_a_bad_item_ends_the_run_when_asked(ivvit, pets: Path) -> None:
    (pets / "val/cat/notes.txt").write_text("no image")
    done = ivvit("shard", "imagefolder", pets, "-o", "out", "--on-bad", "fail")
    assert done.code == 3
    assert "val/cat/notes.txt: is not an image" in done.stderr


def test_help_names_every_dataset(ivvit) -> None:
    words = re.findall(r"[a-z0-9-]+", ivvit("shard", "--help", env={"COLUMNS": "200"}).stdout)
    assert set(SOURCES) <= set(words)


def test_a_protocol_and_a_rate_reach_the_manifest(ivvit, tmp_path: Path) -> None:
    clip = "Walk_p02_r00_v02_c05"
    write_video(tmp_path / f"home/{clip}.mp4", make_frames(4))
    assert ivvit("shard", "smarthome", "home", "-o", "a", "--protocol", "cv2").code == 0
    manifest = json.loads((tmp_path / "a/dataset.json").read_text())
    assert (list(manifest["splits"]), len(manifest["classes"])) == (["val"], 19)
    assert manifest["options"]["protocol"] == "cv2"
    for number, frame in enumerate(make_frames(3)):
        write_image(tmp_path / f"frames/x/{number}.jpg", frame)
    (tmp_path / "frames/train.txt").write_text("x 3 0\nx 3 0\n")
    assert ivvit("shard", "frames", "frames", "-o", "b").code == 2
    done = ivvit("shard", "frames", "frames", "-o", "b", "--fps", "30")
    assert "1 listed, 0 missing, 1 listed again, 0 skipped" in done.stderr
    manifest = json.loads((tmp_path / "b/dataset.json").read_text())
    assert (manifest["options"]["fps"], manifest["options"]["short_side"]) == (30.0, None)
    assert manifest["splits"]["train"]["duplicate"] == 1


SMALL = ("--shard-size", "13k")  # three shards a split of the pets


@pytest.fixture
def in_array(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Make this process a task of an array that begins at 0."""

    def be(task: int, last: int = 2, count: int = 3) -> None:
        values = {"ID": task, "MIN": 0, "MAX": last, "STEP": 1, "COUNT": count}
        for name, value in values.items():
            monkeypatch.setenv(f"SLURM_ARRAY_TASK_{name}", str(value))

    return be


def test_the_tasks_of_an_array_convert_a_part_each(ivvit_here, in_array, pets: Path) -> None:
    command = ("shard", "imagefolder", "pets", "-o", "out", *SMALL)
    in_array(1)
    first = ivvit_here(*command)
    assert first.code == 0
    assert "part 1/3, by SLURM_ARRAY_TASK_ID; with --part all: everything\n" in first.stderr
    assert "part 1/3: 6 listed, 0 skipped, 6 written to out\n" in first.stderr
    assert "missing: parts 0,2 of 0-2 (4 shards); whichever ends last" in first.stderr
    again = "ivvit shard imagefolder pets --out out --shard-size 13k"
    assert f"next: {again} --part 0/3\n" in first.stderr
    in_array(0)
    second = ivvit_here(*command, "--json")
    assert (second.json["part"], second.json["finished"]) == ("0/3", False)
    assert second.json["missing_parts"] == "2"
    missing = ivvit_here(*command, "--finalize")
    assert missing.code == 1
    assert "2 of 6 shards are missing: pets-train-000002.tar, pets-val-000002.tar" in missing.stderr
    assert (
        f"hint: {again} --part 2/3 and so on; "
        f"with Slurm: sbatch --array=2 --wrap '{again} --part $SLURM_ARRAY_TASK_ID/3'; "
        f"or all at once: {again} --part all\n" in missing.stderr
    )
    last = ivvit_here(*command, "--part", "2/3")
    assert "16 listed, 0 missing, 0 skipped, 16 written to out\n" in last.stderr
    assert "next: ivvit data show out\n" in last.stderr
    assert ivvit_here(*command, "--finalize", "--json").json["written"] == 16


def test_an_unfinished_folder_is_told(ivvit_here, pets: Path) -> None:
    ivvit_here("shard", "imagefolder", "pets", "-o", "out", *SMALL, "--part", "0/3")
    assert "unfinished: out, 2 shards so far; the same" in ivvit_here("data", "ls", ".").stderr
    shown = ivvit_here("data", "show", "out")
    assert (shown.code, "with --finalize it tells which parts are" in shown.stderr) == (3, True)


def test_large_images_are_told(ivvit_here, tmp_path: Path) -> None:
    (tmp_path / "photos/train/a").mkdir(parents=True)
    Image.new("RGB", (1300, 1100)).save(tmp_path / "photos/train/a/0.jpg")
    command = ("shard", "imagefolder", "photos", "-o")
    large = ivvit_here(*command, "large").stderr
    assert "a short side of 1100 pixels, which slow reading down; --short-side 512" in large
    assert "slow reading" not in ivvit_here(*command, "small", "--short-side", 512).stderr


def test_all_parts_are_converted_when_asked(ivvit_here, in_array, pets: Path) -> None:
    in_array(1)
    done = ivvit_here("shard", "imagefolder", "pets", *SMALL, "--part", "all", "--json")
    assert (done.json["part"], done.json["written"]) == ("all", 16)


def test_a_dry_run_of_a_part_counts_its_items(ivvit_here, pets: Path) -> None:
    done = ivvit_here("shard", "imagefolder", "pets", *SMALL, "--part", "0/3", "--dry-run")
    assert "part 0/3: 6 listed; nothing was converted\n" in done.stderr


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (("--part", "3/3"), 2, "part 3/3: 3 parts are counted from 0 to 2"),
        (("--part", "0/3", "--finalize"), 2, "--finalize: is of all parts, and takes no --part"),
        (("--finalize",), 3, "no such folder of shards"),
        ((), 2, "SLURM_ARRAY_TASK_ID is 2, but the tasks of its array do not follow one another"),
    ],
)
def test_a_part_that_makes_no_sense_is_one_line(
    ivvit_here, in_array, pets, args, code, message
) -> None:
    in_array(2, last=9, count=4)
    done = ivvit_here("shard", "imagefolder", "pets", *args)
    assert (done.code, done.stdout) == (code, "")
    assert f"{message}\n" in done.stderr


def test_what_killed_parts_left_is_told_as_a_command(
    ivvit_here, tmp_path: Path, pets: Path
) -> None:
    convert("imagefolder", pets, tmp_path / "out", shard_size=13 << 10, part=Part(0, 3))
    (tmp_path / "out/parts.json").unlink()  # as if it had been an undivided run
    done = ivvit_here("shard", "imagefolder", "pets", "-o", "out", *SMALL, "--finalize")
    again = "ivvit shard imagefolder pets --out out --shard-size 13k --part all"
    assert (done.code, done.stderr.splitlines()[-1]) == (1, f"hint: {again}")
