"""Trainings that are killed, signalled, damaged and starved, and how many came through it.

    PYTHONPATH=tests:tests/training python tests/training/faults.py [NAME …] [--trials N]

Every trial trains a tiny joint model in processes of its own (`workers`) and compares what is left
with a run that nothing disturbed, bit for bit. `full-disk` mounts small file systems, as root.
"""

import argparse
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from fault_lab import LONG, Lab, compare, disk, said
from workers import launch, launch_world, metrics, train, wait

from ivvit_cli import runs

SAVED_EVERY = 2  # iterations, in RECIPE
KINDS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


def kills(lab: Lab, trials: int) -> list[str]:
    """Kill -9 at random moments; the run goes on from its newest checkpoint, and ends the same."""
    bad, run, killed = [], lab.fresh(), 0
    while killed < trials:
        process = launch(train, lab.recipe, run, *([] if run.exists() else LONG))
        process.join(lab.dice.uniform(0, lab.seconds))
        process.kill()
        process.join()
        killed += process.exitcode == -signal.SIGKILL
        if process.exitcode not in (0, -signal.SIGKILL):
            bad.append(f"kill {killed}: exit {process.exitcode}: {said(run)}")
        bad += lost_too_much(run, killed)
        if process.exitcode == 0:
            bad += compare(run, lab.long, f"finished after kill {killed}")
            run = lab.fresh()
    if wait(launch(train, lab.recipe, run, *([] if run.exists() else LONG))) != [0]:
        bad.append(f"the last run: {said(run)}")
    return bad + compare(run, lab.long, "the last run")


def lost_too_much(run: Path, trial: int) -> list[str]:
    """Compare the newest checkpoint with the iterations that have a line in metrics.jsonl."""
    file = run / "metrics.jsonl"
    text = file.read_text() if file.exists() else ""
    done = [line for line in text.splitlines(keepends=True) if line.endswith("}\n")]
    saved = max((int(path.name[5:]) for path in runs.list_checkpoints(run)), default=0)
    reached = max((line["iteration"] for line in metrics(run)), default=0) if done else 0
    return [f"kill {trial}: at {reached}, saved {saved}"] if reached - saved > SAVED_EVERY else []


def signals(lab: Lab, trials: int) -> list[str]:
    """SIGTERM, SIGINT and SIGUSR1 at random moments: 128 and more within 30 s, and the same end."""
    bad = []
    for trial in range(len(KINDS) * trials):
        number = KINDS[trial % len(KINDS)]
        run = lab.fresh()
        process = launch(train, lab.recipe, run, *LONG)
        while not run.joinpath("metrics.jsonl").exists():
            time.sleep(0.01)
        time.sleep(lab.dice.uniform(0, 0.8 * lab.seconds))
        start = time.monotonic()
        if process.is_alive():
            subprocess.run(["kill", f"-{int(number)}", str(process.pid)], check=False)
        code = wait(process)[0]
        ended = runs.read_meta(runs.find_checkpoint(run)).iteration == 40
        allowed = (0, 128 + number, *([-number] if ended else []))  # the interpreter's own end
        if time.monotonic() - start > 30 or code not in allowed:
            bad.append(f"signal {trial}: exit {code}: {said(run)}")
        if code and wait(launch(train, lab.recipe, run)) != [0]:
            bad.append(f"resumed {trial}: {said(run)}")
        bad += compare(run, lab.long, f"signal {trial}", but="checkpoints")
    return bad


def damage(lab: Lab, trials: int) -> list[str]:
    """One flipped bit, a cut or a lost file: the checkpoint before it is used, with one warning."""
    bad, source = [], lab.fresh("stopped")
    wait(launch(train_half, lab.recipe, source))
    for _ in range(trials):
        run = lab.fresh()
        shutil.copytree(source, run, symlinks=True)
        what = spoil(lab, runs.list_checkpoints(run)[-1])
        code = wait(launch(train, lab.recipe, run))[0]
        if code or said(run, "warning: ").count("going on from the checkpoint before") != 1:
            bad.append(f"{what}: exit {code}: {said(run)}")
        bad += compare(run, lab.short, what, but="checkpoints")
    return bad


def train_half(recipe: Path, run: Path) -> None:
    train(recipe, run, signal_at=(signal.SIGTERM, 6))


def spoil(lab: Lab, checkpoint: Path) -> str:
    """Damage a random file of a checkpoint, and say how."""
    file = lab.dice.choice([checkpoint / name for name in runs.read_meta(checkpoint).files])
    file = lab.dice.choice([file, checkpoint / runs.META_FILE])
    data, kind = bytearray(file.read_bytes()), lab.dice.choice(["flip", "cut", "lose"])
    place = lab.dice.randrange(len(data))
    if kind == "lose":
        file.unlink()
    elif kind == "cut":
        file.write_bytes(data[:place])
    else:
        data[place] ^= 1 << lab.dice.randrange(8)
        file.write_bytes(data)
    return f"{kind} {file.name} at {place}"


def full_disk(lab: Lab, trials: int) -> list[str]:
    """Disks of 1 MB and so on: what could be saved is whole, and the run goes on with more room."""
    bad = []
    for trial in range(trials):
        kilobytes = 64 * (trial + 1)
        with disk(lab.root / "disk", kilobytes) as place:
            run = place / "run"
            code = wait(launch(train, lab.recipe, run))[0]
            err = place.with_name("err").read_text() if place.with_name("err").exists() else ""
            if code not in (0, 4):
                bad.append(f"{kilobytes} KB: exit {code}: {err}")
            for checkpoint in runs.list_checkpoints(run):
                runs.check_files(checkpoint, runs.read_meta(checkpoint))
            subprocess.run(["mount", "-o", "remount,size=64m", str(place)], check=True)
            if code and wait(launch(train, lab.recipe, run)) != [0]:
                bad.append(f"{kilobytes} KB, then more: {said(run)}")
            bad += compare(run, lab.short, f"{kilobytes} KB", but="checkpoints")
    return bad


def not_finite(lab: Lab, trials: int) -> list[str]:
    """Infinite losses in up to six updates, never three in a row: each is skipped and counted."""
    bad = []
    for _ in range(trials):
        run = lab.fresh()
        chosen = {8 * number + lab.dice.randrange(4) for number in range(lab.dice.randint(1, 6))}
        code = wait(launch(train_spoilt, lab.recipe, run, chosen))[0]
        counted = run.with_suffix(".err").read_text().count("loss not finite, update skipped")
        if code or counted != len(chosen):
            bad.append(f"{sorted(chosen)}: exit {code}, {counted} counted: {said(run)}")
        bad += [f"{chosen}: weights" for line in metrics(run)[-1:] if line["iteration"] != 40]
    return bad


def train_spoilt(recipe: Path, run: Path, chosen: set[int]) -> None:
    """Train while the updates of these numbers have an infinite loss."""
    from ivvit_cli.training.update import Update

    share, numbers = Update._share, iter(range(1000))

    def spoilt(self, dataset, batch):
        result = share(self, dataset, batch)
        if not torch.is_grad_enabled():  # the search for the samples
            return result
        return result._replace(loss=result.loss / (next(numbers) not in chosen))

    Update._share = spoilt
    train(recipe, run, *LONG)


def lost_ranks(lab: Lab, trials: int) -> list[str]:
    """One of 2 to 4 processes is killed: the others end within 60 s, with a checkpoint."""
    bad = []
    for trial in range(trials):
        run, world = lab.fresh(), 2 + trial % 3
        processes = launch_world(train, lab.recipe, run, *LONG, world=world)
        while not runs.list_checkpoints(run):
            time.sleep(0.05)
        time.sleep(lab.dice.uniform(0, 0.5))
        lab.dice.choice(processes).kill()
        start = time.monotonic()
        codes = wait(*processes)
        if time.monotonic() - start > 60 or 0 in codes:
            bad.append(f"{world} processes: exits {codes} in {time.monotonic() - start:.0f} s")
        checkpoint = runs.find_checkpoint(run)
        runs.check_files(checkpoint, runs.read_meta(checkpoint))
    return bad


def broken_shards(lab: Lab, trials: int) -> list[str]:
    """A shard that is damaged once the run has begun: it ends within 60 s and names the shard."""
    bad = []
    for _ in range(trials):
        copy = lab.root / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(lab.root / "films", copy)
        run = lab.fresh()
        words = (f"data.films.shards={copy}", "schedule.iterations=100000", "eval.every=null")
        process = launch(train, lab.recipe, run, *words)
        while not runs.list_checkpoints(run):
            time.sleep(0.02)
        shard = lab.dice.choice(sorted(copy.glob("**/*train*.tar")))
        kind = lab.dice.choice(["cut", "zero"])
        with shard.open("r+b") as file:
            if kind == "cut":
                file.truncate(lab.dice.randrange(512, shard.stat().st_size // 2))
            else:
                file.write(bytes(shard.stat().st_size))
        start = time.monotonic()
        process.join(60)
        late, code = process.is_alive(), process.exitcode
        process.kill()
        wanted = shard.name in said(run) or shard.stem in said(run)
        if late or code in (0, None) or not wanted:
            bad.append(
                f"{kind} {shard.name}: exit {code} in {time.monotonic() - start:.0f} s: {said(run)}"
            )
    return bad


ROWS: dict[str, tuple[Callable[[Lab, int], list[str]], int]] = {
    "kills": (kills, 100),
    "signals": (signals, 50),
    "damage": (damage, 100),
    "full-disk": (full_disk, 40),
    "not-finite": (not_finite, 20),
    "lost-ranks": (lost_ranks, 30),
    "broken-shards": (broken_shards, 30),
}


def main() -> None:
    """Count the trials of each row that went wrong, and show them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", nargs="*", metavar="NAME", help=", ".join(ROWS))
    parser.add_argument("--trials", type=int)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        lab = Lab(Path(folder), args.seed)
        for name in args.rows or ROWS:
            row, trials = ROWS[name]
            start = time.monotonic()
            bad = row(lab, args.trials or trials)
            seconds = time.monotonic() - start
            print(
                f"{name}: {args.trials or trials} trials, {len(bad)} bad, {seconds:.0f} s",
                *bad,
                sep="\n  ",
                flush=True,
            )


if __name__ == "__main__":
    main()
