"""The walk finds what `tarfile` finds in tars of any writer, and the damage it passes over."""

import io
import os
import tarfile
from pathlib import Path

import pytest
import webdataset
from hypothesis import given, settings
from hypothesis import strategies as st

from shards.tarwalk import BLOCK, FILE, FOLDER, Member, TarDamage, walk

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}
NAMES = (
    "a.jpg",
    "d/" * 40 + "b.cls",
    "x" * 99 + ".jpg",
    "n" * 300 + ".png",
    "кот/ö.jpg",
    "./c.txt",
)


def members(path: Path) -> list[Member]:
    with path.open("rb") as file:
        return list(walk(file.fileno()))


def expected(path: Path) -> list[Member]:
    with tarfile.open(path) as tar:
        kinds = {tarfile.DIRTYPE: FOLDER, tarfile.SYMTYPE: "a symbolic link"}
        return [
            Member(
                each.name + "/" * each.isdir(),
                each.offset_data,
                each.size,
                kinds.get(each.type, FILE),
            )
            for each in tar.getmembers()
        ]


def write(path: Path, infos: list[tuple[tarfile.TarInfo, bytes]], form: int) -> Path:
    with tarfile.open(path, "w", format=form) as tar:
        for info, data in infos:
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


@pytest.mark.parametrize("form", FORMATS)
def test_members_are_those_of_tarfile(tmp_path: Path, form: str) -> None:
    infos: list[tuple[tarfile.TarInfo, bytes]] = []
    for number, name in enumerate(NAMES):
        if form == "ustar":
            name = f"{'p' * 90}/{name}" if len(name) < 99 else name[-90:]
        info = tarfile.TarInfo(name)
        info.mtime = 1.5  # which pax writes into a header of its own
        infos.append((info, bytes(number * 300)))
    folder, link = tarfile.TarInfo("f"), tarfile.TarInfo("l" * 120)
    folder.type, link.type, link.linkname = tarfile.DIRTYPE, tarfile.SYMTYPE, "t" * 150
    if form != "ustar":
        infos[2:2] = [(folder, b""), (link, b"")]
    path = write(tmp_path / "a.tar", infos, FORMATS[form])
    assert members(path) == expected(path)
    assert len(members(path)) == len(infos)


def test_the_tars_of_webdataset(tmp_path: Path) -> None:
    with webdataset.ShardWriter(str(tmp_path / "%d.tar"), maxcount=3, verbose=0) as writer:
        for number in range(7):
            writer.write({"__key__": f"{'k' * 150}{number}", "jpg": bytes(number), "cls": number})
    assert len(list(tmp_path.iterdir())) == 3
    for path in tmp_path.iterdir():
        assert members(path) == expected(path)


def test_a_size_in_binary(tmp_path: Path) -> None:
    info = tarfile.TarInfo("big.mp4")
    info.size = 9 << 30  # more than octal holds
    path = tmp_path / "a.tar"
    for form in ("gnu", "pax"):
        with path.open("wb") as file:
            file.write(info.tobuf(FORMATS[form]))
            start = file.seek(info.size, os.SEEK_CUR) - info.size
            file.write(bytes(2 * BLOCK))
        assert members(path) == [Member("big.mp4", start, info.size)]


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    names=st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1)),
    form=st.sampled_from(["gnu", "pax"]),
)
def test_any_name_comes_back(tmp_path_factory, names: list[str], form: str) -> None:
    path = tmp_path_factory.mktemp("any") / "a.tar"
    names = [name for name in names if not name.endswith("/")]
    write(path, [(tarfile.TarInfo(name), b"x") for name in names], FORMATS[form])
    assert members(path) == expected(path)


@pytest.mark.parametrize("sum_", [b"%06o\0 ", b"%06o \0", b"%07o\0", b"%07o "])
def test_the_checksum_as_other_writers_put_it(tmp_path: Path, sum_: bytes) -> None:
    path = write(tmp_path / "a.tar", [(tarfile.TarInfo("a.jpg"), b"x")], tarfile.USTAR_FORMAT)
    data = bytearray(path.read_bytes())
    number = int(data[148:154], 8)
    data[148:156] = sum_ % number
    path.write_bytes(data)
    assert [member.name for member in members(path)] == ["a.jpg"]


def damage(path: Path) -> str:
    with pytest.raises(TarDamage) as caught:
        members(path)
    return f"{caught.value.kind}: {caught.value}"


@pytest.mark.parametrize(
    "record",
    [
        b"", b"x", b"5 a=\n", b"99 path=a\n", b"12 path=abc\0", b"0 path=\n", b"-1 path=a\n",
        b"9 size=1\n9 size=", b"11 size=-1\n", b"10 size=x\n", b"13 size=1e99\n",
        b"22 GNU.sparse.major=1\n",
    ],
)  # fmt: skip
def test_an_extended_header_that_makes_no_sense(tmp_path: Path, record: bytes) -> None:
    info = tarfile.TarInfo("a.jpg")
    extension = tarfile.TarInfo("./PaxHeaders/a.jpg")
    extension.type, extension.size = tarfile.XHDTYPE, len(record)
    path = tmp_path / "a.tar"
    padded = record + bytes(-len(record) % BLOCK)
    path.write_bytes(extension.tobuf() + padded + info.tobuf() + bytes(2 * BLOCK))
    if record in (b"", b"5 a=\n"):
        assert [member.name for member in members(path)] == ["a.jpg"]
    else:
        assert damage(path).startswith("header: byte ")


def test_an_extended_header_without_end_is_not_read(tmp_path: Path) -> None:
    extension = tarfile.TarInfo("x")
    extension.type, extension.size = tarfile.XHDTYPE, 4 << 30
    path = tmp_path / "a.tar"
    with path.open("wb") as file:
        file.write(extension.tobuf(tarfile.GNU_FORMAT))
        file.truncate(5 << 30)
    assert damage(path) == f"header: byte 0: an extended header of {4 << 30} bytes"


def test_a_tar_cut_in_an_extended_header_names_the_member_before(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for name in ("first.txt", "кот.txt"):
            tar.addfile(tarfile.TarInfo(name))
    os.truncate(path, 2 * BLOCK + 6)  # the second member's name is in the block that is cut
    with pytest.raises(TarDamage, match=r"ends at byte 1030, after first\.txt"):
        members(path)
