"""How long a resumed run takes to the batch of any step, and whether it is the right one."""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from bench.paired import print_table
from bench.samples import split
from ivvit_cli.models import JointModel, build_model
from ivvit_cli.runs import fit_weights
from ivvit_cli.training.checkpoint import newest_intact, save_checkpoint
from ivvit_cli.training.distributed import Ranks
from ivvit_cli.training.optim import build_optimiser
from ivvit_cli.training.progress import RunProgress
from ivvit_cli.training.resume import read_saved, restore
from ivvit_cli.training.saving import snapshot
from ivvit_cli.training.schedule import JointSchedule
from shards.stream.loader import Batch, TrainStream, UpdateLoader
from shards.stream.plan import Plan

STEPS = (0, 1_000, 1_000_000, 1_000_000_000)
WALK = 50  # steps that the right batch is also reached by walking
ROUNDS = 5
TARGET = 1.0  # seconds to the right batch
MODEL = {"backbone": "vit_small_patch16_224"}


def main() -> None:
    """Print the seconds to the first batch by step, and those of saving and restoring."""
    stream = make_stream()
    rows = [[f"{step:,}", timed(lambda step=step: first_batch(stream, step))] for step in STEPS]
    rows.append(["target", f"< {TARGET}"])
    print_table("from nothing to the batch of a step, 6 clips of 8 frames", ["step", "s"], rows)
    print(f"  batch {WALK} is the one that walking there gives, bit for bit: {agrees(stream)}")
    print_table(*checkpoint_times())


def make_stream() -> TrainStream:
    """Return UCF101's training stream, or a stand-in's."""
    videos = split("ucf101", "video")
    plan = Plan("ucf101", len(videos), 6, seed=0)
    return TrainStream(videos, plan, 224, sample="window", length=8, seconds=2.67)


def timed(task: Callable[[], object]) -> str:
    """Return the wall seconds of a task: median and spread over the rounds."""
    seconds = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        task()
        seconds.append(time.perf_counter() - start)
    return f"{statistics.median(seconds):.3f} [{min(seconds):.3f}, {max(seconds):.3f}]"


def first_batch(stream: TrainStream, step: int) -> Batch:
    """Return the first batch of a loader that begins at a step."""
    updates = JointSchedule("sequential", {"ucf101": 1}).between(step, step + 1)
    with UpdateLoader({"ucf101": stream}, updates) as loader:
        return next(loader)["ucf101"]


def agrees(stream: TrainStream) -> bool:
    """Tell whether jumping to a step gives what walking there gives."""
    updates = JointSchedule("sequential", {"ucf101": 1}).between(0, WALK + 1)
    with UpdateLoader({"ucf101": stream}, updates) as loader:
        walked = list(loader)[-1]["ucf101"]
    jumped = first_batch(stream, WALK)
    return jumped.keys == walked.keys and torch.equal(jumped.frames, walked.frames)


def restored(checkpoint: Path, model: JointModel, optimiser: torch.optim.Optimizer) -> None:
    saved = read_saved(checkpoint)
    fit_weights(model, saved.weights, checkpoint)
    restore(saved, optimiser)


def checkpoint_times() -> tuple[str, list[str], list[list[str]]]:
    """Return a table of the seconds that saving, checking and restoring a ViT-S take."""
    model = build_model(MODEL, {"ucf101": 101})
    optimiser = build_optimiser(list(model.parameters()), name="adamw", lr=1e-3, weight_decay=0.0)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimiser.step()
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder)
        state = snapshot(optimiser, RunProgress(), {}, Ranks())
        meta = {
            "ivvit": "bench",
            "model": MODEL,
            "input": {"size": 224, "mean": [0.5] * 3, "std": [0.5] * 3},
            "eval": {"views": "1x1", "average": "logits", "precision": "auto", "batch": 16},
            "heads": {},
            "metrics": {},
        }
        weights = model.state_dict()
        tasks: dict[str, Callable[[], object]] = {
            "save, flushed and hashed": lambda: save_checkpoint(
                run, 1, weights=weights, state=state, meta=meta
            ),
            "find and check": lambda: newest_intact(run, print),
            "restore": lambda: restored(newest, model, optimiser),
        }
        newest = run / "checkpoints" / "step-00000001"
        rows = [[name, timed(task)] for name, task in tasks.items()]
        size = sum(path.stat().st_size for path in newest.iterdir()) >> 20
    return f"checkpoints of a ViT-S, {size} MiB", ["", "s"], rows


if __name__ == "__main__":
    main()
