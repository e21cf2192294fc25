"""What has to be seen in time: how many steps each temporal model needs to learn it from nothing.

Two made-up datasets of the demo package on which frames one by one are at most half right. `order`:
a ball changes its colour, and only the order of the frames tells from what to what. `direction`: a
disc moves up, down, left or right and wraps round; a set of frames tells the axis, their order the
way. All passes through `ivvit train`, with the model size of the demo.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from bench.paired import print_table
from ivvit_cli.demo.datasets import DIRECTION, ORDER, DemoSet
from shards.convert.dataset import convert

ITERATIONS, EVERY = 3000, 50
LEARNT, DONE = 85.0, 99.0  # percent: what counts, and what ends a training early
MODELS = {
    "frame-wise": "{kind: none}",
    "space only": "{kind: space_only}",
    "TokenShift": "{kind: token_shift, fold_div: 4}",
    "MSCA-KV": "{kind: msca, variant: KV}",
    "MSCA-pKV, 1 + 1 tokens": "{kind: msca, variant: pKV, backward: 1, forward: 1}",
    "MSCA-pKV, 8 + 8 of 17": "{kind: msca, variant: pKV}",
    "TimeSformer, divided": "{kind: divided, frames: 8}",
    "TimeSformer, joint": "{kind: joint, frames: 8}",
    "tubelet": "{kind: tubelet, frames: 8, depth: 2}",
}
RECIPE = """\
extends: demo
data:
  shapes: null
  textures: null
  moving: null
  {name}:
    shards: {shards}
    batch: 24
    clip: {{sample: uniform, frames: 8}}
    augment: {{crop: none, flip: 0}}
{others}schedule: {{iterations: {iterations}}}
optim: {{lr: 1e-3, lr_schedule: constant, warmup: 50}}
eval: {{every: {every}}}
checkpoint: {{every: null}}
loader: {{threads: 1}}
"""


def main() -> None:
    """Print, of either dataset, each model's accuracy after so many steps."""
    with tempfile.TemporaryDirectory(prefix="ivvit-motion-") as folder:
        for dataset in (ORDER, DIRECTION):
            measure(dataset, Path(folder), MODELS)


def measure(
    dataset: DemoSet, folder: Path, models: Mapping[str, str], iterations: int = ITERATIONS
) -> None:
    """Draw a dataset, train every model on it, and print the table."""
    media, shards = folder / "media" / dataset.name, folder / "data" / dataset.name
    dataset.write(media, seed=0)
    convert("videofolder", media, shards)
    recipe = folder / f"{dataset.name}.yaml"
    values = {"iterations": iterations, "every": min(EVERY, iterations)}
    others = "" if dataset is ORDER else "  order: null\n"
    recipe.write_text(RECIPE.format(name=dataset.name, shards=shards, others=others, **values))
    shown = [step for step in (100, 200, 400, 800, 1600, 3000) if step <= iterations]
    header = ["", f"steps to {LEARNT:.0f} %", *(f"at {step}" for step in shown), "most"]
    rows = []
    for name, temporal in models.items():
        curve = learn(recipe, folder / "runs" / f"{dataset.name} {name}", temporal)
        rows.append([name, *summary(curve, shown)])
        print(f"{dataset.name}, {name}: {curve}", file=sys.stderr, flush=True)
    chance = 100 / len(dataset.classes)
    title = f"{dataset.name}: top-1 in percent on held-out clips (chance {chance:.1f}, frames 50)"
    print_table(title, header, rows)


def learn(recipe: Path, run: Path, temporal: str) -> dict[int, float]:
    """Train until the end, or until all is learnt; return top-1 by iteration."""
    command = ["-m", "ivvit_cli", "-q", "train", "--recipe", str(recipe), "--run", str(run)]
    command += [f"model.temporal={temporal}", "--device", "cpu"]
    with subprocess.Popen(
        [sys.executable, *command],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        while process.poll() is None:
            time.sleep(0.5)
            if any(top1 >= DONE for top1 in accuracies(run).values()):
                process.send_signal(signal.SIGTERM)
                break
        assert process.stderr is not None
        errors = process.stderr.read()
    if process.returncode not in (0, 128 + signal.SIGTERM):
        raise RuntimeError(f"{' '.join(command)}: {errors}")
    return accuracies(run)


def accuracies(run: Path) -> dict[int, float]:
    """Return top-1 by iteration of a run that may still go on."""
    file = run / "metrics.jsonl"
    lines = file.read_text().splitlines(keepends=True) if file.exists() else []
    events = [json.loads(line) for line in lines if line.endswith("\n")]
    return {e["iteration"]: round(e["top1"], 1) for e in events if e["event"] == "eval"}


def summary(curve: Mapping[int, float], shown: list[int]) -> list[str]:
    """Return a table's cells; what was learnt early stays learnt."""
    learnt = next((str(step) for step, top1 in curve.items() if top1 >= LEARNT), "-")
    cells = [f"{curve[step]:.1f}" if step in curve else "(learnt)" for step in shown]
    return [learnt, *cells, f"{max(curve.values()):.1f}"]


if __name__ == "__main__":
    main()
