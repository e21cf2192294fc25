"""Conversions in parts: which part has what, and that together they are an undivided one."""

import random
import subprocess
import sys
from pathlib import Path

import layouts
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from killing import sums

from shards.convert.dataset import convert, prepare
from shards.convert.errors import ShardsMissing
from shards.convert.parts import WHOLE, Part, array_expression, parse_part
from shards.convert.verify import verify
from shards.errors import InputError, UsageError

SIZE, SHARDS = 13_000, 8  # bytes of a shard, and how many the images below fill


@pytest.fixture(scope="module")
def pets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source") / "pets"
    layouts.imagefolder(folder)
    (folder / "val/cat/notes.txt").write_bytes(bytes(SIZE))  # a shard without a sample
    return folder


@pytest.fixture(scope="module")
def whole(pets: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the sums of what an undivided conversion writes."""
    folder = tmp_path_factory.mktemp("whole")
    convert("imagefolder", pets, folder, shard_size=SIZE)
    assert len(list(folder.glob("*.tar"))) == SHARDS - 1
    return sums(folder)


@settings(derandomize=True, deadline=None)
@given(st.integers(1, 9), st.integers(0, 30))
def test_every_shard_is_of_one_part(count: int, shards: int) -> None:
    parts = [Part(number, count).of(range(shards)) for number in range(count)]
    assert sorted(shard for part in parts for shard in part) == list(range(shards))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@settings(derandomize=True, deadline=None)
@given(st.sets(st.integers(0, 40)))
def test_an_array_expression_names_its_numbers(numbers: set[int]) -> None:
    named = set()
    for run in filter(None, array_expression(numbers).split(",")):
        first, _, last = run.partition("-")
        assert not last or int(first) < int(last)
        named |= set(range(int(first), int(last or first) + 1))
    assert named == numbers


def test_parts_are_written_as_batch_systems_count() -> None:
    assert array_expression([9, 3, 8, 7]) == "3,7-9"
    assert parse_part("0/16") == Part(0, 16)
    assert parse_part("all") == parse_part("0/1") == WHOLE
    assert (str(Part(3, 16)), str(WHOLE)) == ("3/16", "all")


@pytest.mark.parametrize("text", ["16/16", "0/0", "-1/4", "1", "1/4/2", "some", ""])
def test_what_is_no_part_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="part"):
        parse_part(text)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 20])
def test_parts_in_any_order_give_the_bytes_of_an_undivided_run(
    tmp_path: Path, pets: Path, whole: dict[str, str], count: int
) -> None:
    order = [*range(count), *random.Random(count).choices(range(count), k=2)]
    random.Random(count).shuffle(order)
    for place, number in enumerate(order):
        part = Part(number, count)
        report = convert("imagefolder", pets, tmp_path / "out", shard_size=SIZE, part=part)
        left = {k for k in range(SHARDS) if k % count not in order[: place + 1]}
        assert set(report.missing_shards) == left
        assert (tmp_path / "out/dataset.json").exists() == (not left)
    assert sums(tmp_path / "out") == whole


def test_a_part_tells_of_its_own_items(tmp_path: Path, pets: Path) -> None:
    report = convert("imagefolder", pets, tmp_path / "out", shard_size=SIZE, part=Part(3, 4))
    assert report.document() | {"splits": None, "classes": None} == {
        "dataset": "pets",
        "kind": "image",
        "splits": None,
        "classes": None,
        "listed": 4,
        "written": 4,
        "missing": 0,
        "skipped": 0,
        "duplicate": 0,
        "part": "3/4",
        "finished": False,
        "missing_parts": "0-2",
    }
    assert report.splits["val"]["shards"] == 2


def test_parts_may_be_counted_anew_and_an_undivided_run_ends_them(
    tmp_path: Path, pets: Path, whole: dict[str, str]
) -> None:
    for part in (Part(0, 3), Part(1, 5)):
        report = convert("imagefolder", pets, tmp_path / "out", shard_size=SIZE, part=part)
    assert report.missing_shards == (2, 4, 5, 7)
    report = convert("imagefolder", pets, tmp_path / "out", shard_size=SIZE)
    assert (report.reused, report.missing_shards) == (4, ())
    assert sums(tmp_path / "out") == whole


def test_finalising_needs_all_shards_and_writes_what_an_undivided_run_does(
    tmp_path: Path, pets: Path, whole: dict[str, str]
) -> None:
    conversion = prepare("imagefolder", pets, shard_size=SIZE)
    with pytest.raises(InputError, match="no such folder"):
        conversion.finalize(tmp_path / "out")
    for number in range(3):
        conversion.run(tmp_path / "out", part=Part(number, 4))
    with pytest.raises(ShardsMissing, match=r"2 of 8 shards are missing: pets-val-000000\.tar"):
        conversion.finalize(tmp_path / "out")
    convert("imagefolder", pets, tmp_path / "out", shard_size=SIZE, part=Part(3, 4))
    for name in ("dataset.json", "skipped.jsonl", "pets-train.index"):
        (tmp_path / "out" / name).unlink()
    assert conversion.finalize(tmp_path / "out").written == 16
    assert sums(tmp_path / "out") == whole


@pytest.mark.parametrize("other", [{"shard_size": SIZE + 1}, {"short_side": 10}])
def test_parts_of_another_plan_are_refused(
    tmp_path: Path, pets: Path, whole: dict[str, str], other: dict[str, int]
) -> None:
    out = tmp_path / "out"
    convert("imagefolder", pets, out, shard_size=SIZE, part=Part(0, 3))
    before = sums(out)
    name, value = next(iter(other.items()))
    begun = f"begun with {name.replace('_', ' ')} {SIZE if name == 'shard_size' else None}"
    options = {"shard_size": SIZE} | other
    with pytest.raises(InputError, match=f"{begun} instead of {value}"):
        convert("imagefolder", pets, out, part=Part(1, 3), **options)
    with pytest.raises(InputError, match=begun):
        prepare("imagefolder", pets, **options).finalize(out)
    assert sums(out) == before
    convert("imagefolder", pets, out, **options)  # undivided: begins anew
    assert sums(out) != whole
    for number in range(3):
        convert("imagefolder", pets, out, shard_size=SIZE, part=Part(number, 3))
    assert sums(out) == whole


def test_parts_of_other_files_are_refused(tmp_path: Path) -> None:
    layouts.imagefolder(tmp_path / "pets")
    convert("imagefolder", tmp_path / "pets", tmp_path / "out", part=Part(0, 2))
    (tmp_path / "pets/val/cat/0.png").unlink()
    with pytest.raises(InputError, match="begun with 16 items instead of 15"):
        convert("imagefolder", tmp_path / "pets", tmp_path / "out", part=Part(1, 2))


def test_what_was_skipped_is_tried_again_by_the_part_that_has_it(
    tmp_path: Path, whole: dict[str, str]
) -> None:
    layouts.imagefolder(tmp_path / "pets")
    layouts.imagefolder(tmp_path / "good/pets")
    path, good = tmp_path / "pets/val/cat/0.png", tmp_path / "good/pets/val/cat/0.png"
    path.write_bytes(bytes(good.stat().st_size))
    for number in range(3):
        convert("imagefolder", tmp_path / "pets", tmp_path / "out", part=Part(number, 3))
    path.write_bytes(good.read_bytes())
    again = prepare("imagefolder", tmp_path / "pets")
    for number in (2, 0):  # the second shard is of part 1
        assert again.run(tmp_path / "out", part=Part(number, 3), retry_failed=True).skipped == 1
    assert again.run(tmp_path / "out", part=Part(1, 3), retry_failed=True).skipped == 0
    convert("imagefolder", tmp_path / "good/pets", tmp_path / "expected")
    assert sums(tmp_path / "out") == sums(tmp_path / "expected")


AT_ONCE = """
import os, sys
from pathlib import Path
import webdataset
from shards.convert.dataset import prepare
from shards.convert.parts import parse_part

conversion = prepare("imagefolder", Path(sys.argv[1]), shard_size=13_000)
ready, go = os.pipe()
children = []
for part in sys.argv[3:]:
    child = os.fork()
    if child == 0:
        os.close(go)
        os.read(ready, 1)  # the end of the pipe, for all at the same moment
        report = conversion.run(Path(sys.argv[2]), part=parse_part(part))
        os._exit(len(report.missing_shards))
    children.append(child)
os.close(go)
print(*(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children))
"""


@pytest.mark.parametrize("parts", [("0/3", "1/3", "2/3"), ("0/2", "1/2", "0/3")])
def test_parts_at_the_same_time_finish_the_folder_among_them(
    tmp_path: Path, pets: Path, whole: dict[str, str], parts: tuple[str, ...]
) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-c", AT_ONCE, pets, out, *parts]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    left = [int(count) for count in done.stdout.split()]
    assert min(left) == 0
    assert max(left) < SHARDS
    assert sums(out) == whole
    assert verify(out).ok
