"""Every Python block of the documents runs, on small shards and without memory for weights."""

import shutil

import pytest
import tiny_runs
import torch
from documented import PAGES, blocks

BLOCKS = [block for page in PAGES for block in blocks(page) if block.language == "python"]


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """Return a folder of shards of videos."""
    root = tmp_path_factory.mktemp("python")
    for split in ("train", "val"):
        tiny_runs.write_films(root / "films", ["run", "walk"], 1, split=split)
    tiny_runs.make_shards("videofolder", root / "films", root / "shards")
    return root / "shards"


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: f"{block.page.name}:{block.start}")
def test_a_documented_python_block_runs(block, shards, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IVVIT_CACHE", str(tmp_path / "cache"))
    for place in ("data/ucf101", "elsewhere", "bucket/ucf101"):
        shutil.copytree(shards, place)
    text = "\n".join(block.lines).replace("s3://", f"file://{tmp_path}/")
    with torch.device("meta"):
        exec(compile(text, str(block.page), "exec"), {})
