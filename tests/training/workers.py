"""Trainings in processes of their own: forked from one that has torch loaded, so they start fast.

They are real processes: they are killed by real signals and talk through real sockets.
"""

import json
import multiprocessing
import os
import signal
import socket
import sys
from pathlib import Path

import torch

from ivvit_cli import runs
from ivvit_cli.errors import IvvitError

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["timm", "ivvit_cli.training.session", "ivvit_cli.commands.train"])


def launch(target, *args, rank=0, world=1, port=0):
    """Start a process that calls `target(*args)` as one of a world; return it."""
    process = SERVER.Process(target=enter, args=(target, args, rank, world, port))
    process.start()
    return process


def launch_world(target, *args, world):
    """Start as many processes as torchrun would."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return [launch(target, *args, rank=rank, world=world, port=port) for rank in range(world)]


def wait(*processes, seconds=180):
    """Return the processes' exit codes; one that hangs is killed and fails the test."""
    for process in processes:
        process.join(seconds)
        if process.exitcode is None:
            process.kill()
            raise AssertionError("a process hangs")
    return [process.exitcode for process in processes]


def enter(target, args, rank, world, port):
    if world > 1:
        place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "MASTER_PORT": port}
        os.environ |= {name: str(value) for name, value in place.items()}
        os.environ["MASTER_ADDR"] = "127.0.0.1"
    try:
        target(*args)
    except IvvitError as error:
        print(error.message, file=sys.stderr)
        sys.exit(error.exit_code)


def train(recipe, run, *overrides, kill_at=None, signal_at=None, sabotage=None):
    """Train or, if the run exists, resume; stderr goes to RUN.err.

    Args:
        kill_at: SIGKILL before the n-th file operation below `checkpoints`.
        signal_at: (signal, iteration): sent to itself by the first line in log.txt after that
            iteration's line in metrics.jsonl.
        sabotage: a function that breaks the code of this process first.
    """
    from ivvit_cli.commands.train import train

    torch.set_num_threads(1)
    if os.environ.get("RANK", "0") == "0":
        os.dup2(os.open(run.with_suffix(".err"), os.O_CREAT | os.O_WRONLY | os.O_TRUNC), 2)
    if sabotage:
        sabotage()
    if kill_at:
        sys.addaudithook(KillAt(kill_at))
    if signal_at:
        sys.addaudithook(SignalAt(run, *signal_at))
    if run.joinpath("recipe.yaml").exists():
        train(None, words=[str(run), *overrides], resume=True, device="cpu")
    else:  # the context, None here, serves the hint after a dry run
        train(None, words=list(overrides), recipe=str(recipe), run=run, device="cpu")


class KillAt:
    """Ends the process before the n-th operation on a path below `checkpoints`."""

    def __init__(self, count):
        self.left = count

    def __call__(self, event, args):
        if event in ("open", "os.rename", "os.mkdir", "os.symlink", "os.remove", "os.rmdir"):
            self.left -= any("checkpoints" in str(arg) for arg in args[:2])
            if not self.left:
                os.kill(os.getpid(), signal.SIGKILL)


class SignalAt:
    """Sends a signal to the process itself once an iteration's line is in metrics.jsonl."""

    def __init__(self, run, number, iteration):
        self.file, self.number, self.iteration = run / "metrics.jsonl", number, iteration
        self.done = False

    def __call__(self, event, args):
        if event != "open" or self.done or "log.txt" not in str(args[0]):
            return
        self.done = True  # the next line opens the file, which is an event too
        lines = self.file.read_text().splitlines() if self.file.exists() else []
        self.done = any(json.loads(line)["iteration"] == self.iteration for line in lines)
        if self.done:
            os.kill(os.getpid(), self.number)


def outcome(run):
    """Return all that a finished run must have in common with one that was interrupted."""
    checkpoint = runs.find_checkpoint(run)
    meta = runs.read_meta(checkpoint)
    runs.check_files(checkpoint, meta)
    state = torch.load(checkpoint / runs.STATE_FILE, weights_only=True)
    return {
        "iteration": meta.iteration,
        "weights": meta.files[runs.WEIGHTS_FILE],
        "moments": {
            (number, name): value.numpy().tobytes()
            for number, moments in state["optimiser"]["state"].items()
            for name, value in moments.items()
        },
        "rates": [group["lr"] for group in state["optimiser"]["param_groups"]],
        "progress": state["progress"],
        "metrics": metrics(run),
        "links": {
            link.name: link.readlink().name
            for link in sorted(run.joinpath("checkpoints").iterdir())
            if link.is_symlink()
        },
        "checkpoints": sorted(p.name for p in Path(run, "checkpoints").iterdir()),
    }


def metrics(run):
    """Return metrics.jsonl without what the clock decides."""
    clock = ("clips_per_second", "data_wait", "memory_mb")
    lines = [json.loads(line) for line in run.joinpath("metrics.jsonl").read_text().splitlines()]
    return [{key: line[key] for key in line if key not in clock} for line in lines]


def plain_environment():
    """Return the environment for a command that runs on one thread, as one process."""
    ours = {name: value for name, value in os.environ.items() if name not in ("IVVIT_DATA", "RANK")}
    return ours | {"OMP_NUM_THREADS": "1"}
