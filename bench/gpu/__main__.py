"""`python -m bench.gpu`: what one GPU makes of the models, in one command and under 8 minutes.

It needs no network and no data: it draws videos, converts them to shards, and trains and infers
from these and from memory. It writes docs/benchmarks/NAME.json and a table NAME.md beside it.
"""

import argparse
import os
import sys
import tempfile
import time
from datetime import date
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from bench.gpu.clock import Clock, ceiling
from bench.gpu.data import make_shards
from bench.gpu.measure import Measurement
from bench.gpu.report import markdown, surroundings, write
from bench.gpu.sizes import FULL, TINY, Sizes

DOCS = Path(__file__).parents[2] / "docs" / "benchmarks"


def main() -> None:
    """Measure, print the tables, write the files."""
    args = parse(sys.argv[1:])
    device = torch.device(args.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        sys.exit("error: there is no CUDA device; --tiny --device cpu tries the benchmark itself")
    os.environ["HF_HUB_OFFLINE"] = "1"
    torch.set_float32_matmul_precision("high")
    document = measure(TINY if args.tiny else FULL, device)
    name = args.name or f"{date.today().isoformat()}-{device.type}"
    paths = write(document, args.out, name)
    print(markdown(document))
    print("written:", *paths)


def parse(words: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="small models, one step each")
    parser.add_argument("--name", help="of the files; by default today's date and the device")
    parser.add_argument("--out", type=Path, default=DOCS, help="their folder")
    return parser.parse_args(words)


def measure(sizes: Sizes, device: torch.device) -> dict[str, Any]:
    """Return everything that is measured, as plain values."""
    started, clock = time.monotonic(), Clock(device, sizes.seconds, sizes.warmup)
    with tempfile.TemporaryDirectory(prefix="ivvit-bench-") as folder:
        split = make_shards(sizes, Path(folder))
        stored = split[0].frames
        task = Measurement(sizes, clock, split, ceiling(clock, sizes.matrix), started)
        rows, ratios = [], []
        for row in task.rows():
            rows.append(told(row))
        for row in chain(task.overheads(), task.peers(), task.attention_over_time()):
            ratios.append(told(row))
    return {
        "surroundings": surroundings(device),
        "ceiling": task.ceiling,
        "kb_per_frame": sum(map(len, stored)) / len(stored) / 1000,
        "rows": rows,
        "ratios": ratios,
        "skipped": task.skipped,
        "seconds": time.monotonic() - started,
    }


def told(row: dict[str, Any]) -> dict[str, Any]:
    """Print a row as soon as it is there, and return it."""
    print(row, file=sys.stderr, flush=True)
    return row


if __name__ == "__main__":
    main()
