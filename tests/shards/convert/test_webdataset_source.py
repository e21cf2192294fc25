"""Video and image files in tars of others become shards, as the same files in folders do."""

import os
import tempfile
from pathlib import Path

import pytest
from foreign_tars import clips, image, images, write_shards, write_tar
from media import make_frames, write_video

from shards import open_dataset
from shards.convert.dataset import convert
from shards.convert.foreign.index import index_tars
from shards.convert.tarmember import MAX_VIDEO, member_file
from shards.convert.verify import verify
from shards.errors import EnvironmentFault, InputError
from shards.stream.reader import Sample

ENDINGS = ("mp4", "webm", "avi", "mkv")


def films(folder: Path, count: int = 4) -> list[dict[str, object]]:
    """Write videos, in a folder for each class, too; return them as samples."""
    samples: list[dict[str, object]] = []
    for number in range(count):
        ending = ENDINGS[number % len(ENDINGS)]
        name = ("run", "walk")[number % 2]
        path = folder / name / f"v{number}.{ending}"
        args = ("-c:v", "libvpx") if ending == "webm" else ("-c:v", "mpeg4")
        write_video(path, make_frames(4 + number, seed=number), 25, args)
        samples.append({"__key__": f"v{number}", ending: path.read_bytes(), "txt": name})
    return samples


def everything(folder: Path) -> list[Sample]:
    samples = open_dataset(folder)["train"]
    return [samples[i] for i in range(len(samples))]


def test_videos_are_those_of_the_files(tmp_path: Path) -> None:
    write_shards(tmp_path / "tars/%d.tar", films(tmp_path / "films"), per_tar=3)
    report = convert("webdataset", tmp_path / "tars", tmp_path / "out")
    assert (report.dataset, report.kind, report.classes) == ("tars", "video", ("run", "walk"))
    assert (report.written, report.skipped) == (4, 0)
    convert("videofolder", tmp_path / "films", tmp_path / "plain")
    plain = sorted(everything(tmp_path / "plain"), key=lambda sample: sample.key[-2:])
    ours = everything(tmp_path / "out")
    assert [sample.frames for sample in ours] == [sample.frames for sample in plain]
    assert [sample.fps for sample in ours] == [sample.fps for sample in plain]
    assert [sample.class_name for sample in ours] == ["run", "walk", "run", "walk"]
    assert verify(tmp_path / "out").ok


def test_the_index_offers_it_and_the_command_works(tmp_path: Path, ivvit) -> None:
    write_shards(tmp_path / "my tars/train-%d.tar", films(tmp_path / "films", 2))
    done = ivvit("data", "index", "my tars", "-o", "index")
    assert done.code == 3
    assert "its samples are mp4 and webm files, which have to be converted" in done.stderr
    (hint,) = (line for line in done.stderr.splitlines() if line.startswith("hint: "))
    assert hint == "hint: ivvit shard webdataset 'my tars' -o index"
    assert not (tmp_path / "index").exists()
    done = ivvit("shard", "webdataset", "my tars", "-o", "index", "--json")
    assert (done.code, done.json["written"]) == (0, 2)
    assert list((tmp_path / "my tars").iterdir()) == [tmp_path / "my tars/train-0.tar"]


def test_image_files_are_copied_and_others_made_png(tmp_path: Path) -> None:
    samples = images(3)
    for number, codec in enumerate(("WEBP", "GIF")):
        key = {"__key__": f"z{number}", "cls": 1}
        samples.append({**key, codec.lower(): image(codec)})
    write_shards(tmp_path / "tars/train-%d.tar", samples)
    report = index_tars(tmp_path / "tars")
    assert (report.written, report.skipped) == (3, 2)
    assert report.notes == (
        "gif and webp files are left out: `ivvit shard webdataset` converts them",
    )
    report = convert("webdataset", tmp_path / "tars", tmp_path / "out")
    assert (report.kind, report.written) == ("image", 5)
    ours = everything(tmp_path / "out")
    assert [sample.codec for sample in ours] == ["jpg"] * 3 + ["png"] * 2
    assert ours[0].frames == [samples[0]["jpg"]]


def test_frames_need_no_conversion(tmp_path: Path) -> None:
    write_shards(tmp_path / "tars/train-%d.tar", clips(2))
    with pytest.raises(InputError, match="frames already") as caught:
        convert("webdataset", tmp_path / "tars", tmp_path / "out")
    assert caught.value.hint == f"ivvit data index {tmp_path / 'tars'}"


def test_a_broken_video_is_skipped_and_one_image_among_videos_too(tmp_path: Path) -> None:
    samples = films(tmp_path / "films", 2)
    samples.append({"__key__": "w", "mp4": b"\0" * 999, "txt": "run"})
    samples.append({"__key__": "x", "jpg": image(), "txt": "run"})
    write_shards(tmp_path / "tars/train-%d.tar", samples)
    report = convert("webdataset", tmp_path / "tars", tmp_path / "out")
    assert (report.written, report.skipped) == (2, 2)
    assert report.reasons[1] == "train-0.tar:x: is no video, as most are, but image"
    assert report.reasons[0].startswith("train-0.tar:w: is neither an image nor a video")


def test_only_what_is_newer_is_converted_again(tmp_path: Path) -> None:
    write_shards(tmp_path / "tars/train-%d.tar", films(tmp_path / "films", 4), per_tar=2)
    convert("webdataset", tmp_path / "tars", tmp_path / "out", shard_size=1)
    first = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert convert("webdataset", tmp_path / "tars", tmp_path / "out", shard_size=1).reused == 4
    (tmp_path / "tars/train-1.tar").touch()
    assert convert("webdataset", tmp_path / "tars", tmp_path / "out", shard_size=1).reused == 2
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == first


def test_keys_that_each_tar_counts_anew(tmp_path: Path) -> None:
    for name in ("train-0", "train-1"):
        write_tar(tmp_path / f"tars/{name}.tar", [("0.jpg", image()), ("0.cls", b"0")])
    report = convert("webdataset", tmp_path / "tars", tmp_path / "out")
    assert report.written == 2
    assert len({sample.key for sample in everything(tmp_path / "out")}) == 2


def test_a_member_is_a_file_for_as_long_as_it_is_needed(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "room"))
    (tmp_path / "room").mkdir()
    (tmp_path / "a").write_bytes(bytes(100) + b"content" + bytes(50))
    with member_file(tmp_path / "a", 100, 7) as path:
        assert path.read_bytes() == b"content"
        assert not list((tmp_path / "room").iterdir())  # it has no name, so nothing can stay
    assert not path.exists()
    with (
        pytest.raises(InputError, match="is cut off"),
        member_file(tmp_path / "a", 100, 70),
    ):
        pass
    with (
        pytest.raises(InputError, match="more than 8 GiB"),
        member_file(tmp_path / "a", 0, MAX_VIDEO + 1),
    ):
        pass


@pytest.mark.skipif(not os.access("/dev/full", os.W_OK), reason="no /dev/full here")
def test_no_room_for_a_copy_is_the_machines_fault(tmp_path: Path, monkeypatch) -> None:
    full = Path("/dev/full").open
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda buffering: full("wb", buffering))
    (tmp_path / "a").write_bytes(bytes(9))
    with (
        pytest.raises(EnvironmentFault, match="cannot be copied there: No space"),
        member_file(tmp_path / "a", 0, 9),
    ):
        pass
