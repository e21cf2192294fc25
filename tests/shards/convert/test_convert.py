"""Whole conversions: contents, determinism, resumption, faults, foreign folders."""

import hashlib
import io
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import layouts
import numpy as np
import pytest
import webdataset
from media import make_frames, write_image
from PIL import Image

from shards.convert.dataset import convert, prepare
from shards.convert.ffmpeg import find_ffmpeg
from shards.convert.verify import verify
from shards.convert.video import read_video
from shards.errors import EnvironmentFault, InputError, UsageError
from shards.index import CODECS, open_index
from shards.manifest import read_dataset_info

# webdataset leaves the files that it reads to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def sums(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def by_webdataset(folder: Path) -> dict[str, dict[str, bytes]]:
    """Return every sample as webdataset reads it, by key."""
    tars = sorted(str(path) for path in folder.glob("*.tar"))
    dataset = webdataset.WebDataset(tars, shardshuffle=False)
    return {sample["__key__"]: sample for sample in dataset}


def by_index(folder: Path, split: str) -> dict[str, tuple[int, str, list[bytes]]]:
    """Return label, codec and frames of every sample, cut out of the tars by the index."""
    info = read_dataset_info(folder)
    index = open_index(folder / info.splits[split].index)
    tars = [(folder / shard.file).read_bytes() for shard in info.splits[split].shards]
    found = {}
    for row in index.samples:
        places = index.frames[row["first_frame"] : row["first_frame"] + row["frames"]].tolist()
        frames = [tars[row["shard"]][at : at + size] for at, size in places]
        found[row["key"].decode()] = (int(row["label"]), CODECS[row["codec"]], frames)
    return found


def test_an_image_dataset_as_webdataset_and_as_the_index_see_it(tmp_path: Path) -> None:
    layouts.imagefolder(tmp_path / "pets")
    report = convert("imagefolder", tmp_path / "pets", tmp_path / "out")
    assert report.document() == {
        "dataset": "pets",
        "kind": "image",
        "splits": {
            name: {"samples": 8, "shards": 1, "bytes": (tmp_path / f"out/{tar}").stat().st_size}
            for name, tar in (("train", "pets-train-000000.tar"), ("val", "pets-val-000000.tar"))
        },
        "classes": ["cat", "dog"],
        "listed": 16,
        "written": 16,
        "missing": 0,
        "skipped": 0,
        "duplicate": 0,
        "part": "all",
        "finished": True,
        "missing_parts": "",
    }
    samples = by_webdataset(tmp_path / "out")
    assert len(samples) == 16
    indexed = by_index(tmp_path / "out", "train") | by_index(tmp_path / "out", "val")
    for key, sample in samples.items():
        document = json.loads(sample["json"])
        source = (tmp_path / "pets" / document["source"]).read_bytes()
        assert sample["png"] == source
        assert document["sha256"] == hashlib.sha256(source).hexdigest()
        assert document["class"] == Path(document["source"]).parent.name
        assert document["label"] == int(sample["cls"]) == ["cat", "dog"].index(document["class"])
        assert indexed[key] == (document["label"], "png", [source])


@pytest.mark.parametrize("layout", ["mjpg", "frames"])
def test_a_video_dataset_as_webdataset_and_as_the_index_see_it(tmp_path, layout: str) -> None:
    layouts.videofolder(tmp_path / "clips", 2)
    convert("videofolder", tmp_path / "clips", tmp_path / "out", layout=layout, short_side=24)
    samples = by_webdataset(tmp_path / "out")
    indexed = by_index(tmp_path / "out", "train")
    assert samples.keys() == indexed.keys()
    for key, sample in samples.items():
        document = json.loads(sample["json"])
        expected = read_video(tmp_path / "clips" / document["source"], short_side=24).frames
        assert indexed[key] == (document["label"], "jpg", expected)
        assert (document["frames"], document["width"], document["height"]) == (
            len(expected),
            32,
            24,
        )
        if layout == "mjpg":
            cuts = [sample["mjpg"][a:b] for a, b in pairwise(document["offsets"])]
        else:
            cuts = [sample[name] for name in sorted(sample) if name.endswith(".jpg")]
        assert cuts == expected
    assert read_dataset_info(tmp_path / "out").options["layout"] == layout


def test_cifar_pixels_come_back_from_its_ppm(tmp_path: Path) -> None:
    pictures = layouts.cifar100(tmp_path / "c")
    convert("cifar100", tmp_path / "c", tmp_path / "out")
    samples = by_webdataset(tmp_path / "out")
    for split, expected in pictures.items():
        for place, picture in enumerate(expected):
            data = samples[f"{split}-{place:05d}"]["ppm"]
            assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), picture)


def test_tars_are_plain_ustar_without_times(tmp_path: Path) -> None:
    layouts.imagefolder(tmp_path / "pets")
    convert("imagefolder", tmp_path / "pets", tmp_path / "out")
    data = (tmp_path / "out/pets-train-000000.tar").read_bytes()
    assert data[257:265] == b"ustar\x0000"
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        members = tar.getmembers()
    assert {(each.mtime, each.type, each.uid) for each in members} == {(0, tarfile.REGTYPE, 0)}
    assert not any(each.pax_headers for each in members)
    names = [each.name for each in members]
    assert names == sorted(names)


def test_bytes_do_not_depend_on_workers_runs_places_or_directory_order(tmp_path: Path) -> None:
    layouts.videofolder(tmp_path / "clips", 3)
    (tmp_path / "clips/run/bad.mp4").write_bytes(b"no video")
    expected = None
    for run, workers in enumerate((1, 2, 5)):
        source = tmp_path / f"copy{run}" / "clips"
        files = [path for path in (tmp_path / "clips").rglob("*") if path.is_file()]
        random.Random(run).shuffle(files)
        for path in files:
            target = source / path.relative_to(tmp_path / "clips")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
            os.utime(target, (run * 1e9, run * 1e9))
        out = tmp_path / f"out{run}"
        convert("videofolder", source, out, workers=workers, shard_size=60_000)
        assert expected in (None, sums(out))
        expected = sums(out)
    assert sum(name.endswith(".tar") for name in expected) > 1


def test_shards_have_about_the_size_that_was_asked_for(tmp_path: Path) -> None:
    layouts.cifar100(tmp_path / "c")
    report = convert("cifar100", tmp_path / "c", tmp_path / "out", shard_size=20_000)
    assert report.splits["train"] == {"samples": 9, "shards": 3, "bytes": 3 * 20_480}
    assert len(by_webdataset(tmp_path / "out")) == 13
    assert verify(tmp_path / "out").ok


def test_what_is_bad_or_missing_is_listed_and_the_rest_goes_on(tmp_path: Path) -> None:
    layouts.ucf101(tmp_path / "u")
    video = tmp_path / "u/UCF-101/Punch/v_Punch_g09_c01.avi"
    video.write_bytes(video.read_bytes()[:-600])
    report = convert("ucf101", tmp_path / "u", tmp_path / "out")
    assert (report.listed, report.written, report.missing, report.skipped) == (4, 2, 1, 1)
    lines = (tmp_path / "out/skipped.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {
            "source": "UCF-101/Punch/v_Punch_g09_c01.avi",
            "split": "test",
            "reason": "is cut short or damaged",
        },
        {
            "source": "UCF-101/Punch/v_Punch_g01_c01.avi",
            "split": "train",
            "reason": "missing: listed, but not there",
        },
    ]
    test = read_dataset_info(tmp_path / "out").splits["test"]
    assert (test.listed, test.written, test.missing, test.skipped) == (2, 1, 0, 1)


def test_pipes_and_endless_files_are_skipped(tmp_path: Path) -> None:
    layouts.imagefolder(tmp_path / "pets", 1, ("train",))
    os.mkfifo(tmp_path / "pets/train/cat/pipe.jpg")
    with (tmp_path / "pets/train/cat/huge.jpg").open("wb") as file:
        file.truncate(1 << 40)
    (tmp_path / "pets/train/cat/loop.jpg").symlink_to("loop.jpg")
    convert("imagefolder", tmp_path / "pets", tmp_path / "out")
    rows = [json.loads(line) for line in (tmp_path / "out/skipped.jsonl").open()]
    assert {Path(row["source"]).stem: row["reason"] for row in rows} == {
        "pipe": "no such file",
        "huge": "has more than 512 MiB",
        "loop": "no such file",
    }


def test_a_video_whose_name_is_no_text_is_skipped_with_that_reason(tmp_path: Path) -> None:
    layouts.videofolder(tmp_path / "clips", 1)
    clip = next((tmp_path / "clips").rglob("*.mp4"))
    shutil.copy(clip, clip.with_name("b\udcff.mp4"))
    report = convert("videofolder", tmp_path / "clips", tmp_path / "out")
    assert [reason.split(": ")[1] for reason in report.reasons] == ["has a name that is not UTF-8"]


def test_nothing_of_where_it_ran_is_stored(tmp_path: Path) -> None:
    layouts.videofolder(tmp_path / "clips", 1)
    (tmp_path / "clips/run/bad.mp4").write_bytes(b"no video")
    convert("videofolder", tmp_path / "clips", tmp_path / "out")
    for path in (tmp_path / "out").iterdir():
        assert str(tmp_path).encode() not in path.read_bytes()


def test_a_bad_item_can_end_the_run_and_what_was_done_stays(tmp_path: Path) -> None:
    layouts.imagefolder(tmp_path / "pets")
    (tmp_path / "pets/val/dog/0.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"val/dog/0\.png: is not an image"):
        convert("imagefolder", tmp_path / "pets", tmp_path / "out", on_bad="fail")
    assert not (tmp_path / "out/dataset.json").exists()
    assert not any(path.name.endswith(".tmp") for path in (tmp_path / "out").iterdir())
    assert convert("imagefolder", tmp_path / "pets", tmp_path / "out").reused == 1


def test_when_nothing_can_be_written_that_is_an_error(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        (tmp_path / "pets" / name / "x.jpg").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"nothing could be converted: 2 skipped, .*a/x\.jpg"):
        convert("imagefolder", tmp_path / "pets", tmp_path / "out")
    assert not (tmp_path / "out/dataset.json").exists()
    assert len((tmp_path / "out/skipped.jsonl").read_text().splitlines()) == 2


def test_a_shard_or_split_without_a_good_item_leaves_no_tar(tmp_path: Path) -> None:
    layouts.imagefolder(tmp_path / "pets")
    for path in (tmp_path / "pets/val").rglob("*.png"):
        path.write_bytes(b"no image")
    convert("imagefolder", tmp_path / "pets", tmp_path / "out")
    assert list(read_dataset_info(tmp_path / "out").splits) == ["train"]
    assert not (tmp_path / "out/pets-val-000000.tar").exists()
    assert verify(tmp_path / "out").ok


def tars(out: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in out.glob("*.tar")}


def test_a_second_run_converts_nothing(tmp_path: Path) -> None:
    layouts.imagefolder(tmp_path / "pets")
    convert("imagefolder", tmp_path / "pets", tmp_path / "out")
    before, written = sums(tmp_path / "out"), tars(tmp_path / "out")
    calls: list[int] = []
    report = convert(
        "imagefolder", tmp_path / "pets", tmp_path / "out", on_progress=lambda *_: calls.append(1)
    )
    assert (report.reused, calls) == (2, [])
    assert (sums(tmp_path / "out"), tars(tmp_path / "out")) == (before, written)


@pytest.mark.parametrize("place", range(20, 500, 60))
def test_a_record_with_a_changed_bit_is_never_believed(tmp_path: Path, place: int) -> None:
    layouts.imagefolder(tmp_path / "pets", splits=("train",))
    convert("imagefolder", tmp_path / "pets", tmp_path / "out")
    before = sums(tmp_path / "out")
    record = tmp_path / "out/pets-train-000000.index"
    data = bytearray(record.read_bytes())
    data[place] ^= 1
    record.write_bytes(data)
    with suppress(InputError):  # else it was made anew
        convert("imagefolder", tmp_path / "pets", tmp_path / "out")
        assert sums(tmp_path / "out") == before
    record.unlink()
    convert("imagefolder", tmp_path / "pets", tmp_path / "out")
    assert sums(tmp_path / "out") == before


def test_only_the_shard_of_a_changed_input_is_converted_anew(tmp_path: Path) -> None:
    layouts.imagefolder(tmp_path / "pets")
    convert("imagefolder", tmp_path / "pets", tmp_path / "out")
    before = tars(tmp_path / "out")
    write_image(tmp_path / "pets/val/cat/new.png", make_frames(1, seed=9)[0])
    report = convert("imagefolder", tmp_path / "pets", tmp_path / "out")
    after = tars(tmp_path / "out")
    assert (report.reused, report.written) == (1, 17)
    assert after["pets-train-000000.tar"] == before["pets-train-000000.tar"]
    assert after["pets-val-000000.tar"] > before["pets-val-000000.tar"]
    assert verify(tmp_path / "out").ok


def test_a_source_that_was_rewritten_at_its_size_is_converted_anew(tmp_path: Path) -> None:
    for number, picture in enumerate(make_frames(2)):
        write_image(tmp_path / f"pets/a/{number}.bmp", picture)
    convert("imagefolder", tmp_path / "pets", tmp_path / "out")
    first = by_index(tmp_path / "out", "train")
    shutil.copy(tmp_path / "pets/a/0.bmp", tmp_path / "pets/a/1.bmp")
    assert convert("imagefolder", tmp_path / "pets", tmp_path / "out").reused == 0
    found = by_index(tmp_path / "out", "train")
    assert found["a_0"] == first["a_0"] == found["a_1"] != first["a_1"]


def test_a_run_that_fails_leaves_what_was_finished(tmp_path: Path) -> None:
    layouts.imagefolder(tmp_path / "pets", 2, ("train",))
    convert("imagefolder", tmp_path / "pets", tmp_path / "out")
    before = sums(tmp_path / "out")
    (tmp_path / "pets/train/cat/bad.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"bad\.png"):
        convert("imagefolder", tmp_path / "pets", tmp_path / "out", on_bad="fail")
    assert sums(tmp_path / "out") == before
    for path in (tmp_path / "pets").rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(InputError, match="nothing could be converted"):
        convert("imagefolder", tmp_path / "pets", tmp_path / "out")
    assert sums(tmp_path / "out")["dataset.json"] == before["dataset.json"]
    assert verify(tmp_path / "out").ok


def test_classes_without_a_sample_are_told(tmp_path: Path) -> None:
    layouts.imagefolder(tmp_path / "pets", 1, ("train",))
    (tmp_path / "pets/train/ant").mkdir()
    (tmp_path / "pets/train/cat/0.png").write_bytes(b"no image")
    conversion = prepare("imagefolder", tmp_path / "pets")
    assert conversion.forecast().notes == ("1 of 3 classes have no sample: ant",)
    assert conversion.run(tmp_path / "out").notes == ("2 of 3 classes have no sample: ant, cat",)


def test_an_ffmpeg_that_vanishes_ends_the_run_and_skips_nothing(tmp_path, monkeypatch) -> None:
    layouts.videofolder(tmp_path / "clips", 1)
    (tmp_path / "ffmpeg").symlink_to(find_ffmpeg().path)
    monkeypatch.setenv("IVVIT_FFMPEG", str(tmp_path / "ffmpeg"))
    find_ffmpeg.cache_clear()
    try:
        conversion = prepare("videofolder", tmp_path / "clips")
        (tmp_path / "ffmpeg").unlink()
        with pytest.raises(EnvironmentFault, match="ffmpeg"):
            conversion.run(tmp_path / "out")
    finally:
        find_ffmpeg.cache_clear()
    assert list((tmp_path / "out").iterdir()) == []


def test_an_ffmpeg_that_is_killed_ends_the_run_and_skips_nothing(tmp_path, monkeypatch) -> None:
    layouts.videofolder(tmp_path / "clips", 1)
    asked = f'case "$*" in -version) exec {find_ffmpeg().path} "$@";; esac'
    (tmp_path / "ffmpeg").write_text(f"#!/bin/sh\n{asked}\nkill -9 $$\n")
    (tmp_path / "ffmpeg").chmod(0o755)
    monkeypatch.setenv("IVVIT_FFMPEG", str(tmp_path / "ffmpeg"))
    find_ffmpeg.cache_clear()
    try:
        conversion = prepare("videofolder", tmp_path / "clips")
        with pytest.raises(EnvironmentFault, match="was killed"):
            conversion.run(tmp_path / "out")
    finally:
        find_ffmpeg.cache_clear()
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("source", ["imagefolder", "videofolder"])
def test_too_few_open_files_end_the_run_and_skip_nothing(tmp_path, source: str) -> None:
    getattr(layouts, source)(tmp_path / "src", 1)
    conversion = prepare(source, tmp_path / "src")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)

    def leave_few(done: int, total: int) -> None:
        taken = len(list(Path("/proc/self/fd").iterdir()))
        resource.setrlimit(resource.RLIMIT_NOFILE, (taken - 1, before[1]))

    try:
        with pytest.raises(EnvironmentFault, match="Too many open files"):
            conversion.run(tmp_path / "out", workers=1, on_progress=leave_few)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert not list((tmp_path / "out").glob("*.index"))


def test_changed_options_convert_anew_and_leave_nothing_stale(tmp_path: Path) -> None:
    layouts.imagefolder(tmp_path / "pets")
    source = tmp_path / "pets"
    convert("imagefolder", source, tmp_path / "out", shard_size=8_000)
    assert len(tars(tmp_path / "out")) > 2
    (tmp_path / "out/.pets-val-000000.tar.77.tmp").write_bytes(b"of a killed run")
    (tmp_path / "out/contact-sheet.png").write_bytes(b"kept")
    report = convert("imagefolder", source, tmp_path / "out", short_side=10)
    assert report.reused == 0
    convert("imagefolder", source, tmp_path / "fresh", short_side=10)
    left = sums(tmp_path / "out")
    assert left.pop("contact-sheet.png")
    assert left == sums(tmp_path / "fresh")


@pytest.mark.parametrize("name", ["holiday.jpg", "other-train-000000.tar", "pets-train.txt"])
def test_a_folder_with_something_foreign_is_refused_untouched(tmp_path: Path, name: str) -> None:
    layouts.imagefolder(tmp_path / "pets")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_bytes(b"mine")
    with pytest.raises(InputError, match=name):
        convert("imagefolder", tmp_path / "pets", tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == [name]


@pytest.mark.parametrize(
    "options", [{"layout": "zip"}, {"quality": 1}, {"fps": 0.0}, {"short_side": -1}]
)
def test_options_out_of_range_are_refused(tmp_path: Path, options: dict[str, object]) -> None:
    layouts.imagefolder(tmp_path / "pets", 1)
    with pytest.raises(UsageError):
        prepare("imagefolder", tmp_path / "pets", **options)


def test_a_full_disk_is_one_clear_error(tmp_path: Path) -> None:
    layouts.imagefolder(tmp_path / "pets")
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, limit[1]))
    try:
        with pytest.raises(EnvironmentFault, match="out: cannot be written: File too large"):
            convert("imagefolder", tmp_path / "pets", tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert list((tmp_path / "out").iterdir()) == []


RUN = """
import sys, time
from pathlib import Path
from shards.convert import dataset
def crawl(done, total):
    print(done, flush=True)
    time.sleep(0.02 if total - done > 4 else 3)  # slow enough to be killed before the end
dataset.convert("imagefolder", Path(sys.argv[1]), Path(sys.argv[2]), shard_size=6000, workers=2,
                on_progress=crawl)
"""


def test_kill_9_at_any_moment_leaves_nothing_partial(tmp_path: Path) -> None:
    layouts.imagefolder(tmp_path / "pets", 12)
    convert("imagefolder", tmp_path / "pets", tmp_path / "whole", shard_size=6000)
    whole = sums(tmp_path / "whole")
    out = tmp_path / "out"
    for items in (3, 17, 40):
        command = [sys.executable, "-c", RUN, tmp_path / "pets", out]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            for line in process.stdout:
                if int(line) + len(by_record(out)) >= items:
                    break
            time.sleep(random.Random(items).random() * 0.03)
            process.send_signal(signal.SIGKILL)
        assert not (out / "dataset.json").exists()
        for path in out.glob("*.tar"):
            assert whole[path.name] == hashlib.sha256(path.read_bytes()).hexdigest()
    done = by_record(out)
    report = convert("imagefolder", tmp_path / "pets", out, shard_size=6000)
    assert report.reused >= len(done) > 1
    assert sums(out) == whole


def test_two_conversions_do_not_share_a_folder(tmp_path: Path) -> None:
    layouts.imagefolder(tmp_path / "pets", 6)
    command = [sys.executable, "-c", RUN, tmp_path / "pets", tmp_path / "out"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        with pytest.raises(InputError, match="out: another conversion is writing into it"):
            convert("imagefolder", tmp_path / "pets", tmp_path / "out", shard_size=6000)
        process.stdout.read()
    assert process.returncode == 0
    assert verify(tmp_path / "out").ok


def by_record(out: Path) -> list[Path]:
    return list(out.glob("*-??????.index"))
