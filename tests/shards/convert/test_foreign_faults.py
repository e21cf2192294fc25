"""What is wrong with tars of others, by kind: left out with a reason, and never run or followed."""

import gzip
import io
import json
import os
import pickle
import tarfile
from pathlib import Path

import pytest
from foreign_tars import Files, image, plain_files, write_tar
from hypothesis import given, settings
from hypothesis import strategies as st

from shards import open_dataset
from shards.convert.dataset import convert
from shards.convert.foreign.index import index_tars, prepare_index
from shards.convert.verify import verify
from shards.errors import InputError
from shards.stream.tarstream import stream_samples

JPG, BIG = image(), image(size=(40, 30))


def rows(folder: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in (folder / "skipped.jsonl").read_text().splitlines()]


class Boom:
    """What runs a command when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("ran",)


BAD: dict[str, tuple[Files, str]] = {
    "no label": ([("x.jpg", JPG)], "has no label"),
    "a label below zero": ([("x.jpg", JPG), ("x.cls", b"-1")], "label -1 is out of range"),
    "a label without end": ([("x.jpg", JPG), ("x.cls", b"9" * 99)], "is out of range"),
    "no picture": ([("x.cls", b"0")], "has no image"),
    "no picture in it": ([("x.jpg", b"no"), ("x.cls", b"0")], "not a readable jpg"),
    "a cut picture": ([("x.jpg", JPG[:-40]), ("x.cls", b"0")], "not a readable jpg"),
    "a picture for print": ([("x.jpg", b"CMYK"), ("x.cls", b"0")], "not a readable jpg"),
    "another format": ([("x.png", JPG), ("x.cls", b"0")], "not a readable png"),
    "a broken json": ([("x.jpg", JPG), ("x.json", b'{"label": 0')], "its .json cannot be read"),
    "a pickle": (
        [("x.jpg", JPG), ("x.cls", b"0"), ("x.pyd", pickle.dumps(Boom()))],
        "member .pyd is a pickle",
    ),
    "a way out": ([("../../x.jpg", JPG), ("../../x.cls", b"0")], "leads out of the folder"),
    "a way to the root": ([("/etc/x.jpg", JPG), ("/etc/x.cls", b"0")], "leads out of the folder"),
    "a line break": ([("a\nb.jpg", JPG), ("a\nb.cls", b"0")], "a line break"),
    "an escape": ([("\x1b]0;x.jpg", JPG), ("\x1b]0;x.cls", b"0")], "control a terminal"),
    "a command": ([("pipe:touch ran;x.jpg", JPG), ("pipe:touch ran;x.cls", b"0")], "a command"),
    "a URL": ([("http://127.0.0.1/x.jpg", JPG), ("http://127.0.0.1/x.cls", b"0")], "a URL"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_sample_is_left_out_alone(tmp_path: Path, monkeypatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    files, reason = BAD[name]
    path = write_tar(
        tmp_path / "set/a.tar", [*plain_files(2), *files, ("z.jpg", JPG), ("z.cls", b"1")]
    )
    report = index_tars(tmp_path / "set")
    assert (report.written, report.skipped, report.listed) == (3, 1, 4)
    (row,) = rows(tmp_path / "set")
    assert row["source"].startswith("a.tar:")
    assert (reason in row["reason"], row["split"]) == (True, "train")
    samples = open_dataset(tmp_path / "set")["train"]
    assert [samples[i].key for i in range(3)] == ["k0", "k1", "z"]
    assert verify(tmp_path / "set").ok
    with pytest.raises(InputError, match=r"a\.tar:") as caught:
        prepare_index(tmp_path / "set").run(on_bad="fail")
    assert reason in caught.value.message
    with pytest.raises(InputError, match=r"a\.tar: sample "):
        list(stream_samples(path))
    assert {entry.name for entry in tmp_path.iterdir()} == {"set"}


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE]
)
@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_links_and_devices_are_not_followed(tmp_path: Path, kind: bytes, form: int) -> None:
    path = write_tar(tmp_path / "set/a.tar", plain_files(2), form)
    with tarfile.open(path, "a", format=form) as tar:
        link = tarfile.TarInfo(f"{'k' * 120 if form != tarfile.USTAR_FORMAT else 'x'}.jpg")
        link.type, link.linkname = kind, "/etc/passwd"
        tar.addfile(link)
        label = tarfile.TarInfo(link.name.replace("jpg", "cls"))
        label.size = 1
        tar.addfile(label, io.BytesIO(b"0"))
    report = index_tars(tmp_path / "set")
    assert (report.written, report.skipped) == (2, 1)
    assert "not a file" in report.reasons[0]
    assert verify(tmp_path / "set").ok


def test_folders_and_hidden_files_in_a_tar_are_passed_over(tmp_path: Path) -> None:
    path = write_tar(
        tmp_path / "set/a.tar", [("._x.jpg", b""), (".DS_Store", b""), ("README", b"")]
    )
    with tarfile.open(path, "a") as tar:
        folder = tarfile.TarInfo("pictures")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        for name, data in (("pictures/x.jpg", JPG), ("pictures/x.cls", b"0")):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    report = index_tars(tmp_path / "set")
    assert (report.written, report.skipped) == (1, 0)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (gzip.compress, "is compressed by gzip"),
        (lambda data: b"", "has no byte"),
        (lambda data: data[:3000], "ends at byte 3000"),
        (lambda data: b"x" + data[1:], "byte 0: the header's checksum does not fit"),
        (lambda data: data + data, "a block of zeros in the middle"),
        (lambda data: bytes(10240), "holds no sample"),
        (lambda data: b"<html>404 Not Found</html>" * 40, "byte 0: the header's checksum"),
    ],
)
def test_of_a_damaged_tar_nothing_is_taken(tmp_path: Path, spoil, reason: str) -> None:
    write_tar(tmp_path / "set/a-good.tar", plain_files(2))
    path = write_tar(tmp_path / "set/b-bad.tar", plain_files(5))
    path.write_bytes(spoil(path.read_bytes()))
    report = index_tars(tmp_path / "set")
    assert (report.written, report.skipped) == (2, 1)
    (row,) = rows(tmp_path / "set")
    assert row["source"] == "b-bad.tar"
    assert reason in row["reason"]
    assert verify(tmp_path / "set").ok
    path.write_bytes(write_tar(tmp_path / "again.tar", plain_files(9)).read_bytes())
    assert [problem.kind for problem in verify(tmp_path / "set").problems] == ["manifest"]
    assert index_tars(tmp_path / "set").written == 11
    assert verify(tmp_path / "set").ok


@pytest.mark.parametrize("name", ["a\nb.tar", "a\x1b[31m.tar", "pipe:touch ran;.tar"])
def test_a_tar_with_a_hostile_name_is_left_out(tmp_path: Path, monkeypatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    write_tar(tmp_path / "set/good.tar", plain_files(2))
    write_tar(tmp_path / "set" / name, plain_files(2))
    report = index_tars(tmp_path / "set")
    assert (report.written, report.skipped) == (2, 1)
    assert rows(tmp_path / "set")[0]["source"] == name
    with pytest.raises(InputError, match="no such folder"):
        index_tars(Path("pipe:touch ran"))
    assert not (tmp_path / "ran").exists()


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    write_tar(tmp_path / "set/a.tar", plain_files(2))
    os.mkfifo(tmp_path / "set/b.tar")
    with pytest.raises(InputError, match=r"b\.tar: is no plain file"):
        index_tars(tmp_path / "set")
    (tmp_path / "set/b.tar").unlink()
    (tmp_path / "set/b.tar").symlink_to("b.tar")
    with pytest.raises(InputError, match=r"b\.tar: is no plain file"):
        index_tars(tmp_path / "set")


def test_gaps_among_frames_and_frames_of_several_sizes(tmp_path: Path) -> None:
    files = [
        *(("gap.000000.jpg", JPG), ("gap.000002.jpg", JPG), ("gap.cls", b"0")),
        *(("odd.000000.jpg", JPG), ("odd.000001.jpg", BIG), ("odd.cls", b"0")),
        *(("ok.000007.jpg", JPG), ("ok.000008.jpg", JPG), ("ok.cls", b"0")),
    ]
    write_tar(tmp_path / "set/a.tar", files)
    report = index_tars(tmp_path / "set")
    assert (report.written, report.skipped) == (1, 2)
    assert [row["reason"] for row in rows(tmp_path / "set")] == [
        "lacks frame 1",
        "changes its picture size",
    ]


def test_a_frame_of_another_size_within_one_member_is_found_by_decoding(tmp_path: Path) -> None:
    offsets = [0, len(JPG), len(JPG + BIG), len(JPG + BIG + JPG)]
    about = json.dumps({"label": 0, "fps": 10, "offsets": offsets}).encode()
    write_tar(tmp_path / "set/a.tar", [("v.mjpg", JPG + BIG + JPG), ("v.json", about)])
    index_tars(tmp_path / "set")
    (problem,) = verify(tmp_path / "set").problems
    assert problem.kind == "bad_media"
    assert "is (40, 30), not (24, 16)" in problem.detail


def test_the_first_fault_can_end_it_before_other_tars_are_walked(tmp_path: Path) -> None:
    write_tar(tmp_path / "set/a.tar", [*plain_files(1), ("x.jpg", JPG)])
    write_tar(tmp_path / "set/b.tar", plain_files(2))
    with pytest.raises(InputError, match=r"a\.tar:x: has no label"):
        prepare_index(tmp_path / "set").run(on_bad="fail")
    assert {path.name for path in (tmp_path / "set").iterdir()} == {"a.tar", "b.tar", "a.tar.index"}


def test_nothing_of_use_is_an_error_that_names_the_first(tmp_path: Path) -> None:
    write_tar(tmp_path / "set/a.tar", [("x.jpg", JPG), ("y.jpg", JPG)])
    with pytest.raises(InputError, match=r"2 left out, the first \(a\.tar:x\) has no label"):
        index_tars(tmp_path / "set")
    assert not (tmp_path / "set/dataset.json").exists()


@settings(derandomize=True, deadline=None, max_examples=80)
@given(st.data())
def test_any_byte_may_be_wrong(tmp_path_factory, data) -> None:
    """Whatever is damaged, what remains is what was there, or a reason."""
    folder = tmp_path_factory.mktemp("fuzz")
    path = write_tar(folder / "a.tar", plain_files(3), data.draw(st.sampled_from([0, 1, 2])))
    sound = {sample.key: sample for sample in stream_samples(path)}
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(len(content) // 2, len(content)))])
    try:
        report = index_tars(folder)
    except InputError:
        return
    samples = open_dataset(folder)["train"]
    assert report.listed == report.written + report.skipped
    for i in range(len(samples)):
        same = sound.get(samples[i].key)
        assert same is None or len(samples[i].frames[0]) == len(same.frames[0])


def test_a_conversion_leaves_out_the_same(tmp_path: Path) -> None:
    every = [file for files, _ in BAD.values() for file in files]
    for number, (files, _) in enumerate(BAD.values()):
        write_tar(tmp_path / f"set/a{number}.tar", [*files, *plain_files(1)])
    write_tar(tmp_path / "set/z.tar", every).write_bytes(b"no tar")
    report = convert("webdataset", tmp_path / "set", tmp_path / "out")
    sound = ("another format",)  # which is told from the content, not from the name
    assert (report.written, report.skipped) == (len(BAD) + len(sound), len(BAD) - len(sound) + 1)
    assert {row["source"].partition(":")[0] for row in rows(tmp_path / "out")} >= {
        "a0.tar",
        "z.tar",
    }
    assert verify(tmp_path / "out").ok
