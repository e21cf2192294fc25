"""AM Flow in a block of ViT-B: peak memory and time, against an implementation that keeps maps."""

import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.paired import print_table
from ivvit_cli.models import build_model
from ivvit_cli.models.temporal.am_flow import AmFlow

FRAMES, TOKENS = (8, 16, 32), (197, 257)
PATCHES = {197: "vit_base_patch16_224", 257: "vit_base_patch14_dinov2"}
ROWS = [("none", ""), ("vanilla", ""), ("vanilla", "naive"), ("aligned", ""), ("aligned", "naive")]
MIB = 2**20


def main() -> None:
    """Print a table per number of tokens, of one clip."""
    for tokens in TOKENS:
        rows = []
        for flow, how in ROWS:
            memory = [f"{alone(peak, flow, how, t, tokens):.0f}" for t in FRAMES]
            times = [f"{alone(seconds, flow, how, t, tokens):.2f}" for t in FRAMES]
            rows.append([flow, how or "blockwise", *memory, *times])
        figures = [f"{unit} T={t}" for unit in ("MiB", "s") for t in FRAMES]
        title = f"N = {tokens}, 12 heads, forward and backward of one clip"
        print_table(title, ["flow", "maps", *figures], rows)


def alone(figure: Callable[..., float], *case: Any) -> float:
    """Return a figure of a process that does nothing else."""
    # whatever is freed goes back to the system at once, so that what is resident is in use
    lean = {"MALLOC_MMAP_THRESHOLD_": "65536"} if figure is peak else {}
    os.environ.update(lean)
    try:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            return pool.submit(figure, *case).result()
    finally:
        for name in lean:
            del os.environ[name]


def peak(flow: str, how: str, frames: int, tokens: int) -> float:
    """Return the peak of memory above what the block and its input take, in MiB."""
    step = block_step(flow, how, frames, tokens)
    return peak_of_device(step) if torch.cuda.is_available() else peak_of_process(step)


def seconds(flow: str, how: str, frames: int, tokens: int) -> float:
    """Return the process's CPU time on one thread, or the device's time, after a first run."""
    step = block_step(flow, how, frames, tokens)
    clock = time.perf_counter if torch.cuda.is_available() else time.process_time
    step()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    start = clock()
    step()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return clock() - start


def block_step(flow: str, how: str, frames: int, tokens: int) -> Callable[[], None]:
    """Return a function that runs a frozen block with its adapters forward and backward."""
    torch.set_num_threads(1)
    if how == "naive":
        module = sys.modules[AmFlow.__module__]
        vars(module).update(change_of_maps=naive_change, received_attention=naive_received)
    section = {
        "backbone": PATCHES[tokens],
        "backbone_args": {"img_size": 224, "depth": 1},
        "temporal": {"kind": "am_flow", "flow": {"kind": flow}, "unit": {"kind": "mean"}},
        "freeze": ["backbone"],
    }
    device = "cuda" if torch.cuda.is_available() else "cpu"
    encoder = build_model(section, {"a": 2}).to(device).encoder.train()
    x = torch.randn(frames, tokens, 768, device=device, requires_grad=True)

    def step() -> None:
        out, _ = encoder.adapters["shared"](0, encoder.vit.blocks[0], x, frames, "a")
        out.sum().backward()
        x.grad = None

    return step


def peak_of_device(step: Callable[[], None]) -> float:
    """Return the peak of allocated memory above what is there before, in MiB."""
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    step()
    return (torch.cuda.max_memory_allocated() - before) / MIB


def peak_of_process(step: Callable[[], None]) -> float:
    """Return the peak of resident memory above what is there before, in MiB (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = resident("VmRSS")
    step()
    return resident("VmHWM") - before


def resident(name: str) -> float:
    """Return a figure of /proc/self/status in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith(f"{name}:"))
    return int(line.split()[1]) / 1024


def naive_change(q: Tensor, k: Tensor, frames: int, scale: float) -> Tensor:
    """Eq. 3 over all maps at once."""
    maps = (q @ k.mT * scale).unflatten(0, (-1, frames))  # (B, T, heads, N, N)
    return (maps[:, :-1] - maps[:, 1:]).abs().softmax(-1).sum(-2)


def naive_received(q: Tensor, k: Tensor, frames: int, scale: float) -> Tensor:
    """The argument of Eq. 4 over all maps at once."""
    return (q @ k.mT * scale).softmax(-1).sum(-2).unflatten(0, (-1, frames))


if __name__ == "__main__":
    main()
