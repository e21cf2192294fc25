"""The bound on memory while a hostile file is read."""

import mmap
import resource

import pytest

from ivvit_cli.bounded import bounded_memory
from ivvit_cli.errors import InputError


def test_what_asks_for_far_more_than_its_size_is_refused(tmp_path) -> None:
    path = tmp_path / "w.pth"
    path.write_bytes(b"small")
    before = resource.getrlimit(resource.RLIMIT_AS)
    refused = pytest.raises(InputError, match=r"w\.pth: refused: it takes far more memory")
    with refused, bounded_memory(path):
        bytearray(2 << 30)
    assert resource.getrlimit(resource.RLIMIT_AS) == before


def test_three_times_a_file_and_some_fit(tmp_path) -> None:
    path = tmp_path / "w.pth"
    with path.open("wb") as file:
        file.truncate(500 << 20)
    with bounded_memory(path):
        mmap.mmap(-1, 2400 << 20).close()
        with pytest.raises(OSError, match="Cannot allocate memory"):
            mmap.mmap(-1, 2700 << 20)


def test_a_lower_limit_of_the_machine_stays(tmp_path) -> None:
    path = tmp_path / "w.pth"
    path.write_bytes(b"small")
    _, hard = before = resource.getrlimit(resource.RLIMIT_AS)
    with bounded_memory(path):
        low, _ = resource.getrlimit(resource.RLIMIT_AS)
    try:
        resource.setrlimit(resource.RLIMIT_AS, (low - (512 << 20), hard))
        with bounded_memory(path):
            assert resource.getrlimit(resource.RLIMIT_AS)[0] == low - (512 << 20)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
