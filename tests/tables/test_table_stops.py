"""A table that a signal stops leaves no process behind, and what its row had learnt is saved."""

import os
import signal
import subprocess
import sys
import time

import pytest
from tiny_runs import make_shards, write_pictures

from ivvit_cli.config import load_recipe
from ivvit_cli.tables.smoke import make_data
from shards import open_dataset

RECIPE = """\
model:
  backbone: vit_tiny_patch16_224
  backbone_args: {{img_size: 16, patch_size: 8, embed_dim: 16, depth: 1, num_heads: 2}}
data: {{pictures: {{shards: {root}/shards, batch: 2}}}}
schedule: {{kind: sequential, iterations: 1000000}}
optim: {{lr: 1e-3}}
train: {{log_every: 1}}
loader: {{threads: 1}}
"""
TABLE = "title: t\nsource: s\nrows:\n  row: {{recipe: {root}/tiny.yaml, printed: {{}}}}\n"


@pytest.fixture
def table(tmp_path):
    """Start a table that would train for hours; return its process and the row's run."""
    write_pictures(tmp_path / "raw", ["ant", "bee"], 2, split="train")
    make_shards("imagefolder", tmp_path / "raw", tmp_path / "shards")
    for name, text in (("tiny.yaml", RECIPE), ("table.yaml", TABLE)):
        (tmp_path / name).write_text(text.format(root=tmp_path))
    process = subprocess.Popen(
        [sys.executable, "-m", "ivvit_cli", "table", "table.yaml"],
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    yield process, tmp_path / "runs/tables/table/runs/row"
    if is_alive(process.pid):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def is_alive(group):
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize(
    ("number", "send"),
    [(signal.SIGINT, os.killpg), (signal.SIGINT, os.kill), (signal.SIGTERM, os.kill)],
    ids=["from a terminal", "SIGINT", "SIGTERM"],
)
def test_a_signal_ends_the_row_once_it_is_saved(table, number, send):
    process, run = table
    deadline = time.monotonic() + 120
    while not run.joinpath("metrics.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    send(process.pid, number)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 128 + number, err
    assert "the same command goes on from here" in err
    assert list(run.glob("checkpoints/step-*"))
    assert not is_alive(process.pid)


def test_stand_ins_that_were_not_finished_are_made_anew(tmp_path):
    left = tmp_path / "media/ucf101/train/ring-ucf101"
    left.mkdir(parents=True)
    (left / "000.avi").write_bytes(b"half a video")
    make_data([load_recipe("iv-vit-small", ["data.cifar100=null"])], tmp_path)
    assert open_dataset(tmp_path / "ucf101").classes == (
        "cross-ucf101",
        "ring-ucf101",
        "triangle-ucf101",
    )
