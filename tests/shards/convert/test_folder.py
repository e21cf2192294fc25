"""What may be in a folder of shards before a conversion, and what is there after it."""

import os
from pathlib import Path

import layouts
import numpy as np
import pytest
from killing import sums

from shards.convert.dataset import convert, prepare
from shards.convert.parts import Part
from shards.errors import InputError
from shards.index import FRAME, SAMPLE, write_index


def killed_early(out: Path) -> None:
    """Leave what a conversion of another dataset does that was killed before its first tar."""
    out.mkdir()
    header = {"plan": "1" * 64, "shard": None, "skipped": [{"source": "a", "split": "train"}]}
    write_index(out / "cats-train-000000.index", header, np.empty(0, SAMPLE), np.empty(0, FRAME))
    (out / ".cats-train-000001.tar.0123456789abcdef.tmp").write_bytes(b"half a tar")
    (out / "skipped.jsonl").write_text("{}\n")


@pytest.mark.parametrize("part", [None, Part(0, 1)])
def test_a_conversion_killed_before_its_first_tar_keeps_no_other_out(tmp_path, part) -> None:
    layouts.imagefolder(tmp_path / "pets")
    killed_early(tmp_path / "out")
    options = {"part": part} if part else {}
    convert("imagefolder", tmp_path / "pets", tmp_path / "out", **options)
    convert("imagefolder", tmp_path / "pets", tmp_path / "fresh")
    assert sums(tmp_path / "out") == sums(tmp_path / "fresh")


@pytest.mark.parametrize("name", ["cats-train-000000.tar", "dataset.json"])
def test_what_another_conversion_has_done_is_kept(tmp_path: Path, name: str) -> None:
    layouts.imagefolder(tmp_path / "pets")
    killed_early(tmp_path / "out")
    (tmp_path / "out" / name).write_bytes(b"of use")
    before = sums(tmp_path / "out")
    with pytest.raises(InputError, match="cats-train-000000"):
        convert("imagefolder", tmp_path / "pets", tmp_path / "out")
    assert sums(tmp_path / "out") == before


@pytest.mark.parametrize("below", ["", "shards"])
def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path, below: str) -> None:
    layouts.imagefolder(tmp_path / "pets")
    (tmp_path / "out").write_bytes(b"mine")
    with pytest.raises(InputError, match=r"out.*: cannot be made: a file is in its place"):
        convert("imagefolder", tmp_path / "pets", tmp_path / "out" / below)
    assert (tmp_path / "out").read_bytes() == b"mine"


def test_what_a_network_file_system_keeps_of_an_open_file_is_in_nobodys_way(tmp_path) -> None:
    layouts.imagefolder(tmp_path / "pets")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/.nfs000000000123").write_bytes(b"")
    convert("imagefolder", tmp_path / "pets", tmp_path / "out")
    assert (tmp_path / "out/.nfs000000000123").exists()


@pytest.mark.parametrize("name", ["pets-train-000000.index", "dataset.json", "parts.json"])
def test_pipes_in_the_place_of_its_files_are_replaced_and_never_waited_for(tmp_path, name) -> None:
    layouts.imagefolder(tmp_path / "pets")
    (tmp_path / "out").mkdir()
    os.mkfifo(tmp_path / "out" / name)
    for number in range(2):
        convert("imagefolder", tmp_path / "pets", tmp_path / "out", part=Part(number, 2))
    convert("imagefolder", tmp_path / "pets", tmp_path / "fresh")
    assert sums(tmp_path / "out") == sums(tmp_path / "fresh")


def test_a_shard_that_is_there_already_stays_and_so_does_the_manifest(tmp_path: Path) -> None:
    layouts.imagefolder(tmp_path / "pets", splits=("train",))
    out = tmp_path / "out"
    conversion = prepare("imagefolder", tmp_path / "pets")
    conversion.run(out)
    tar, record = out / "pets-train-000000.tar", out / "pets-train-000000.index"
    os.utime(record, (1, 1))
    os.utime(tmp_path / "pets/train/cat/0.png")  # newer than its shard, but no other
    before, number = sums(out), tar.stat().st_ino
    assert prepare("imagefolder", tmp_path / "pets").run(out).reused == 0
    assert (sums(out), tar.stat().st_ino) == (before, number)
    assert prepare("imagefolder", tmp_path / "pets").run(out).reused == 1
