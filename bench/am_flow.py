"""AM Flow in a block of ViT-B: peak memory and time, against an implementation that keeps maps."""

import multiprocessing
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

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
    spawn = multiprocessing.get_context("spawn")  # a fresh heap for every figure
    with ProcessPoolExecutor(1, mp_context=spawn, max_tasks_per_child=1) as pool:
        for tokens in TOKENS:
            rows = []
            for flow, how in ROWS:
                both = [pool.submit(measure, flow, how, t, tokens).result() for t in FRAMES]
                memory = [f"{each[0]:.0f}" for each in both]
                seconds = [f"{each[1]:.2f}" for each in both]
                rows.append([flow, how or "blockwise", *memory, *seconds])
            figures = [f"{unit} T={t}" for unit in ("MiB", "s") for t in FRAMES]
            title = f"N = {tokens}, 12 heads, forward and backward of one clip"
            print_table(title, ["flow", "maps", *figures], rows)


def measure(flow: str, how: str, frames: int, tokens: int) -> tuple[float, float]:
    """Return the peak of memory (MiB above what the block and its input take) and the seconds.

    Seconds are the process's CPU time on one thread, or those of the device, after a first run.
    """
    torch.set_num_threads(1)
    if how == "naive":
        module = sys.modules[AmFlow.__module__]
        vars(module).update(change_of_maps=naive_change, received_attention=naive_received)
    step = block_step(flow, frames, tokens)
    if torch.cuda.is_available():
        return peak_of_device(step), seconds_of(step, wait=torch.cuda.synchronize)
    return peak_of_process(step), seconds_of(step, wait=lambda: None)


def block_step(flow: str, frames: int, tokens: int) -> Callable[[], None]:
    """Return a function that runs a frozen block with its adapters forward and backward."""
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


def seconds_of(step: Callable[[], None], wait: Callable[[], object]) -> float:
    """Return what one more run takes."""
    clock = time.perf_counter if torch.cuda.is_available() else time.process_time
    wait()
    start = clock()
    step()
    wait()
    return clock() - start


def naive_change(q: Tensor, k: Tensor, frames: int, scale: float) -> Tensor:
    """Eq. 3 over all maps at once."""
    maps = (q @ k.mT * scale).unflatten(0, (-1, frames))  # (B, T, heads, N, N)
    return (maps[:, :-1] - maps[:, 1:]).abs().softmax(-1).sum(-2)


def naive_received(q: Tensor, k: Tensor, frames: int, scale: float) -> Tensor:
    """The argument of Eq. 4 over all maps at once."""
    return (q @ k.mT * scale).softmax(-1).sum(-2).unflatten(0, (-1, frames))


if __name__ == "__main__":
    main()
