"""Files that are written whole or not at all, and read only if they are plain."""

import os
from pathlib import Path

import pytest

from shards.errors import InputError
from shards.files import atomic_file, open_plain, temporary_path, write_atomically
from shards.index import read_layout
from shards.manifest import read_dataset_info


def test_a_file_is_old_until_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write_atomically(path, b"old")
    with atomic_file(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    with pytest.raises(TypeError):
        write_atomically(path, b"half", "of a text")
    assert [(found.name, found.read_bytes()) for found in tmp_path.iterdir()] == [("a", b"new")]


def test_no_two_writers_share_a_temporary_file(tmp_path: Path) -> None:
    assert temporary_path(tmp_path / "a") != temporary_path(tmp_path / "a")


@pytest.mark.parametrize("kind", ["pipe", "folder", "device"])
def test_what_is_no_plain_file_is_refused_and_never_waited_for(tmp_path: Path, kind: str) -> None:
    for name in ("dataset.json", "pets-train.index"):
        path = tmp_path / name
        match kind:
            case "pipe":
                os.mkfifo(path)
            case "folder":
                path.mkdir()
            case "device":
                path.symlink_to("/dev/zero")
        with pytest.raises(ValueError, match="not a plain file"):
            open_plain(path)
    with pytest.raises(InputError, match=r"dataset\.json: cannot be read: not a plain file"):
        read_dataset_info(tmp_path)
    with pytest.raises(InputError, match=r"pets-train\.index: .*not a plain file"):
        read_layout(tmp_path / "pets-train.index")
