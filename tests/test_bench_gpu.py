"""The benchmark for GPUs runs from end to end, on the CPU with a tiny model."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import clean_environment

from bench.gpu.clock import Clock
from bench.gpu.measure import Measurement
from bench.gpu.sizes import TINY

ROOT = Path(__file__).parents[1]


def bench_gpu(*args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bench.gpu", *args]
    environment = clean_environment() | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


def test_it_measures_every_row_and_writes_its_files(tmp_path: Path) -> None:
    done = bench_gpu("--tiny", "--device", "cpu", "--name", "try", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "try.json").read_text())
    rows = {row["what"]: row for row in found["rows"]}
    for passes in ("training", "inference"):
        for place in ("memory, compiled", "shards, compiled", "memory, eager"):
            row = rows[f"{passes}, 2 frames, from {place}"]
            assert row["clips_per_second"] > 0
            assert row["share_of_ceiling"] == pytest.approx(row["tflops"] / found["ceiling"])
            assert ("data_wait" in row) == ("shards" in place)
    flops = [rows[f"{x}, 2 frames, from memory, eager"] for x in ("training", "inference")]
    trained, inferred = (row["tflops"] / row["clips_per_second"] for row in flops)
    assert 2.5 < trained / inferred < 3
    ratios = [(row["what"], row.get("compiled")) for row in found["ratios"]]
    for name in ("TokenShift over plain", "MSCA-KV over plain", "MSCA-pKV over plain"):
        assert {(name, False), (name, True)} <= set(ratios)
    assert "This ran on no GPU" in (tmp_path / "try.md").read_text()


def test_a_measurement_that_fails_or_is_late_is_told_and_left_out() -> None:
    split: Any = None
    task = Measurement(TINY, Clock(torch.device("cpu"), 0, 0), split, 1.0)

    def fail(batch: int) -> dict[str, Any]:
        raise RuntimeError("Failed to find C compiler.\nPlease specify via CC")

    assert task._tried("compiled", 2, fail) is None
    assert task._tried("eager", 2, lambda batch: {"batch": batch}) == {"batch": 2}
    task.started -= TINY.budget + 1
    assert task._tried("more", 2, fail) is None
    assert task.skipped == [
        "compiled: RuntimeError: Failed to find C compiler. Please specify via CC",
        "more: 400 seconds are over",
    ]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_gpu_it_says_so() -> None:
    done = bench_gpu()
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: there is no CUDA device")
