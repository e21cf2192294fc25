"""Damage of every kind, done to real shards, is found and named."""

import hashlib
import io
import json
import pickle
import tarfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import layouts
import pytest
from media import make_frames, write_video

from shards.convert.dataset import convert
from shards.convert.shardcheck import ShardFindings, check_members
from shards.convert.verify import verify
from shards.errors import InputError

SHARD = "train"
Members = list[tuple[str, bytes]]


@pytest.fixture(params=["imagefolder", "videofolder"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return shards of 8 images or 4 videos."""
    if request.param == "imagefolder":
        layouts.imagefolder(tmp_path / "set", 4, ("train",))
    else:
        layouts.videofolder(tmp_path / "set", 2)
    convert(request.param, tmp_path / "set", tmp_path / "out")
    assert verify(tmp_path / "out").ok
    return tmp_path / "out"


def tar(folder: Path) -> Path:
    return folder / "set-train-000000.tar"


def rewrite(folder: Path, change: Callable[[Members], Members]) -> None:
    """Write the tar again with other members, and make the manifest agree with its bytes."""
    path = tar(folder)
    with tarfile.open(path) as old:
        members = [(each.name, old.extractfile(each).read()) for each in old]
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as new:
        for name, data in change(members):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            new.addfile(info, io.BytesIO(data))
    sign(folder)


def sign(folder: Path) -> None:
    document = json.loads((folder / "dataset.json").read_text())
    shard = document["splits"]["train"]["shards"][0]
    shard["sha256"] = hashlib.sha256(tar(folder).read_bytes()).hexdigest()
    shard["bytes"] = document["splits"]["train"]["bytes"] = tar(folder).stat().st_size
    (folder / "dataset.json").write_text(json.dumps(document))


def kinds(folder: Path) -> set[str]:
    report = verify(folder)
    assert report.ok == (not report.problems)
    return {problem.kind for problem in report.problems}


def media(members: Members) -> int:
    """Return the place of the last picture or video."""
    return max(n for n, (name, _) in enumerate(members) if name.endswith(("png", "mjpg")))


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_a_tar_cut_anywhere_is_truncated(folder: Path, part: float) -> None:
    data = tar(folder).read_bytes()
    tar(folder).write_bytes(data[: int(len(data) * part)])
    assert kinds(folder) == {"truncated"}


def test_a_tar_cut_between_two_members_is_truncated(folder: Path) -> None:
    with tarfile.open(tar(folder)) as file:
        start = file.getmembers()[3].offset
    tar(folder).write_bytes(tar(folder).read_bytes()[:start])
    assert kinds(folder) == {"truncated"}


@pytest.mark.parametrize("bit", [0, 7])
@pytest.mark.parametrize("byte", [2, 110, 130, 150, 156, 300])
def test_a_flipped_bit_in_a_header(folder: Path, byte: int, bit: int) -> None:
    data = bytearray(tar(folder).read_bytes())
    with tarfile.open(tar(folder)) as file:
        data[file.getmembers()[3].offset + byte] ^= 1 << bit
    tar(folder).write_bytes(data)
    assert kinds(folder) == {"header"}


def test_a_header_of_zeros(folder: Path) -> None:
    data = bytearray(tar(folder).read_bytes())
    with tarfile.open(tar(folder)) as file:
        start = file.getmembers()[3].offset
    data[start : start + 512] = bytes(512)
    tar(folder).write_bytes(data)
    assert kinds(folder) == {"header"}


def test_a_link_in_a_tar_is_no_sample(folder: Path) -> None:
    with tarfile.open(tar(folder), "a", format=tarfile.USTAR_FORMAT) as file:
        link = tarfile.TarInfo("x.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        file.addfile(link)
    assert kinds(folder) == {"header"}


def test_a_shard_that_is_gone(folder: Path) -> None:
    tar(folder).unlink()
    assert kinds(folder) == {"missing_shard"}


def test_a_shard_of_no_bytes_and_one_of_no_samples(folder: Path) -> None:
    rewrite(folder, lambda members: [])
    assert "empty_shard" in kinds(folder)
    tar(folder).write_bytes(b"")
    assert kinds(folder) == {"empty_shard"}


def test_a_picture_that_is_cut(folder: Path) -> None:
    def cut(members: Members) -> Members:
        place = media(members)
        name, data = members[place]
        members[place] = (name, data[: len(data) // 2] + bytes(len(data) - len(data) // 2))
        return members

    rewrite(folder, cut)
    assert kinds(folder) == {"bad_media"}


def test_labels_that_disagree(folder: Path) -> None:
    rewrite(folder, lambda members: [(n, b"1" if n.endswith("cls") else d) for n, d in members])
    assert kinds(folder) == {"bad_media"}


def test_a_key_that_comes_twice_later_or_at_once(folder: Path) -> None:
    original = tar(folder).read_bytes()
    rewrite(folder, lambda members: members + members[:3])
    assert "duplicate_key" in kinds(folder)
    assert "interleaved" not in kinds(folder)
    tar(folder).write_bytes(original)
    rewrite(folder, lambda members: members[:3] + members)
    assert "duplicate_key" in kinds(folder)


@pytest.mark.parametrize("ending", ["cls", "json", "media"])
def test_a_sample_without_one_of_its_members(folder: Path, ending: str) -> None:
    def drop(members: Members) -> Members:
        place = media(members)
        if ending != "media":
            place = next(n for n, (name, _) in enumerate(members) if name.endswith(ending))
        return members[:place] + members[place + 1 :]

    rewrite(folder, drop)
    assert kinds(folder) == {"missing_member"}


def test_samples_whose_members_are_mixed(folder: Path) -> None:
    def mix(members: Members) -> Members:
        first, second = members[:3], members[3:6]
        return [each for pair in zip(first, second, strict=True) for each in pair] + members[6:]

    rewrite(folder, mix)
    assert "interleaved" in kinds(folder)
    assert "duplicate_key" not in kinds(folder)


@pytest.mark.parametrize("key", ["a/b", "../up", "k" * 81, "ö", "sp ace", ""])
def test_a_key_that_is_not_valid(folder: Path, key: str) -> None:
    def rename(members: Members) -> Members:
        return [(f"{key}.{n.split('.', 1)[1]}", d) for n, d in members[:3]] + members[3:]

    rewrite(folder, rename)
    assert "bad_key" in kinds(folder)


def test_a_member_without_an_ending(folder: Path) -> None:
    rewrite(folder, lambda members: [*members, ("stray", b"")])
    assert kinds(folder) == {"bad_key"}


def test_a_flipped_bit_that_no_decoder_sees(folder: Path) -> None:
    data = bytearray(tar(folder).read_bytes())
    data[data.rindex(b'"source"') + 1] ^= 1
    tar(folder).write_bytes(data)
    assert kinds(folder) == {"checksum"}


def test_an_index_that_is_damaged_or_gone(folder: Path) -> None:
    path = folder / "set-train.index"
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(data)
    assert kinds(folder) == {"manifest"}
    path.unlink()
    assert kinds(folder) == {"manifest"}


@pytest.mark.parametrize("place", [-20, -200, 40, 200])
def test_a_shard_s_own_record_that_is_damaged(folder: Path, place: int) -> None:
    path = folder / "set-train-000000.index"
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    assert kinds(folder) == {"manifest"}


def test_an_index_that_says_something_else_than_the_shard(folder: Path) -> None:
    path = folder / "set-train.index"
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(data)
    document = json.loads((folder / "dataset.json").read_text())
    document["splits"]["train"]["index_sha256"] = hashlib.sha256(data).hexdigest()
    (folder / "dataset.json").write_text(json.dumps(document))
    assert kinds(folder) == {"manifest"}


def edit(document: dict, path: str, value: object) -> None:
    *parents, last = path.split(".")
    for name in parents:
        document = document[int(name) if isinstance(document, list) else name]
    document[int(last) if isinstance(document, list) else last] = value


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("kind", "audio"),
        ("name", "other"),
        ("classes", ["one"]),
        ("splits.train.samples", 3),
        ("splits.train.frames", 3),
        ("splits.train.bytes", 3),
        ("splits.train.listed", 3),
        ("splits.train.written", 3),
        ("splits.train.missing", 3),
        ("splits.train.skipped", 3),
        ("splits.train.shards.0.samples", 3),
    ],
)
def test_a_manifest_that_says_something_else_than_the_shards(folder: Path, path, value) -> None:
    document = json.loads((folder / "dataset.json").read_text())
    edit(document, path, value)
    (folder / "dataset.json").write_text(json.dumps(document))
    assert kinds(folder) == {"manifest"}


def test_a_manifest_of_the_other_kind_or_with_classes_or_splits_swapped(folder: Path) -> None:
    text = (folder / "dataset.json").read_text()
    document = json.loads(text)
    other = "video" if document["kind"] == "image" else "image"
    (folder / "dataset.json").write_text(json.dumps(document | {"kind": other}))
    assert kinds(folder) == {"manifest"}
    swapped = {"classes": document["classes"][::-1]}
    (folder / "dataset.json").write_text(json.dumps(document | swapped))
    assert kinds(folder) == {"manifest"}
    renamed = {"splits": {"val": document["splits"]["train"]}}
    (folder / "dataset.json").write_text(json.dumps(document | renamed))
    assert kinds(folder) == {"manifest"}


@pytest.mark.parametrize("bytes_", [-1, 1])
def test_a_manifest_with_other_sizes_of_shards(folder: Path, bytes_: int) -> None:
    document = json.loads((folder / "dataset.json").read_text())
    train = document["splits"]["train"]
    train["bytes"] += bytes_
    train["shards"][0]["bytes"] += bytes_
    (folder / "dataset.json").write_text(json.dumps(document))
    assert kinds(folder) == {"checksum" if bytes_ < 0 else "truncated"}


@pytest.mark.parametrize(
    "change",
    [
        lambda document: "[" * 200_000,
        lambda document: json.dumps(document | {"fps": 10**400}),
        lambda document: json.dumps(document | {"width": "1"}),
        lambda document: json.dumps(document | {"label": 10**400}),
    ],
)
def test_a_hostile_json_is_bad_media(folder: Path, change) -> None:
    def spoil(members: Members) -> Members:
        place = next(n for n, (name, _) in enumerate(members) if name.endswith("json"))
        name, data = members[place]
        members[place] = (name, change(json.loads(data)).encode())
        return members

    rewrite(folder, spoil)
    assert kinds(folder) == {"bad_media"}


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"schema_version": 99}'])
def test_a_manifest_that_is_damaged_or_gone_still_lets_the_shards_be_checked(folder, text) -> None:
    path = folder / "dataset.json"
    path.unlink() if text is None else path.write_text(text)
    assert kinds(folder) == {"manifest"}
    assert verify(folder).samples in (4, 8)
    tar(folder).write_bytes(tar(folder).read_bytes()[:3000])
    assert kinds(folder) == {"manifest", "truncated"}


def test_a_manifest_that_names_files_elsewhere_is_not_followed(folder: Path) -> None:
    text = (folder / "dataset.json").read_text()
    (folder / "dataset.json").write_text(text.replace("set-train-000000.tar", "../x.tar"))
    assert kinds(folder) == {"manifest"}


def test_a_shard_that_the_manifest_does_not_name(folder: Path) -> None:
    (folder / "set-train-000001.tar").write_bytes(tar(folder).read_bytes())
    assert kinds(folder) == {"manifest", "duplicate_key"}


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        verify(tmp_path / "none")


def test_what_is_kept_of_a_video_does_not_grow_with_its_frames(tmp_path: Path) -> None:
    write_video(tmp_path / "set/a/short.mp4", make_frames(2, 64, 48))
    write_video(tmp_path / "set/a/long.mp4", make_frames(300, 64, 48))
    convert("videofolder", tmp_path / "set", tmp_path / "out")
    with (tmp_path / "out/set-train-000000.tar").open("rb") as file, ThreadPoolExecutor(1) as pool:
        findings = ShardFindings("set-train-000000.tar")
        assert check_members(file.fileno(), findings, pool)
    kept = [len(pickle.dumps(content)) for content in findings.contents]
    assert max(kept) < min(kept) + 20


def test_the_layout_of_single_frames_is_checked_too(tmp_path: Path) -> None:
    layouts.videofolder(tmp_path / "set", 2)
    convert("videofolder", tmp_path / "set", tmp_path / "out", layout="frames")
    assert verify(tmp_path / "out").ok
    rewrite(tmp_path / "out", lambda members: [m for m in members if "000002.jpg" not in m[0]])
    assert kinds(tmp_path / "out") == {"missing_member"}
