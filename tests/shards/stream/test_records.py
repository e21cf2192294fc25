"""The index's tables: what a record is, and that reading them leaves nothing in memory."""

import subprocess
import sys

import numpy as np
import pytest
from naive_shards import numbered, write_shards

from shards import open_dataset
from shards.errors import InputError
from shards.index import FRAME, SAMPLE, open_index, write_index
from shards.manifest import read_dataset_info, write_dataset_info

READ_ALL = """
import sys
from shards import open_dataset

def resident():
    lines = open("/proc/self/status").read().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) >> 10

split = open_dataset(sys.argv[1])["train"]
before, total = resident(), 0
for i in range(len(split)):
    total += len(split.read(i, [0, 299]))
print(total, resident() - before, "torch" in sys.modules)
"""


def test_records_and_columns_are_those_of_the_mapped_index(tmp_path):
    samples = [(f"v{i}", i % 2, [numbered(8, 8, t) for t in range(1 + i)]) for i in range(9)]
    split = open_dataset(write_shards(tmp_path, samples, kind="video"))["train"]
    mapped = open_index(tmp_path / "toy-train.index").samples
    assert len(split.samples) == len(mapped) == 9
    for i in (*range(9), -1, -9):
        assert split.samples[i] == mapped[i]
    for name in SAMPLE.names:
        assert split.samples[name].tolist() == mapped[name].tolist()
    for i in (9, -10):
        with pytest.raises(IndexError):
            split.samples[i]


def test_columns_of_more_than_a_block(tmp_path):
    folder = _large(tmp_path, clips=40_000, frames=1)
    split = open_dataset(folder)["train"]
    assert split.samples["first_frame"].tolist() == list(range(40_000))
    assert split.samples[39_999]["first_frame"] == 39_999


def test_no_part_of_the_index_stays_in_memory(tmp_path):
    """The table of frames has 72 MB, and every page of it is looked at."""
    folder = _large(tmp_path, clips=20_000, frames=300)
    done = subprocess.run(
        [sys.executable, "-c", READ_ALL, str(folder)], capture_output=True, text=True, check=True
    )
    read, grown, torch = done.stdout.split()
    assert (read, torch) == ("40000", "False")  # torch alone would be five times the whole
    assert int(grown) < 12


def test_an_index_that_is_cut_while_it_is_read(tmp_path):
    split = open_dataset(_large(tmp_path, clips=10, frames=3))["train"]
    with (tmp_path / "toy-train.index").open("r+b") as file:
        file.truncate(10 * SAMPLE.itemsize)
    with pytest.raises(InputError, match="the index ends before its record 9"):
        split.samples[9]


def _large(folder, *, clips, frames):
    """Write a dataset whose clips are all the same picture, so that the index is most of it."""
    write_shards(folder, [("v", 0, [numbered(8, 8, 0)] * frames)], kind="video")
    index = open_index(folder / "toy-train.index")
    samples, places = np.tile(index.samples, clips), np.tile(index.frames, clips)
    assert (samples.dtype, places.dtype) == (SAMPLE, FRAME)
    samples["first_frame"] = np.arange(clips) * frames
    write_index(folder / "toy-train.index", {}, samples, places)
    info = read_dataset_info(folder)
    split = info.splits["train"].model_copy(update={"samples": clips})
    write_dataset_info(folder, info.model_copy(update={"splits": {"train": split}}))
    return folder
