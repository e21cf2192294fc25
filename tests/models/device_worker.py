"""Trains and evaluates on the second device, in a process of its own, and prints what it saw."""

import json
import sys
from copy import deepcopy
from typing import Any

import numpy as np
import second_device
import torch
from second_device import BLOCKING, NAME
from small_models import small_model
from torch import Tensor

from ivvit_cli.models import JointModel
from ivvit_cli.training.agreement import agree
from ivvit_cli.training.average import WeightAverage
from ivvit_cli.training.distributed import Ranks
from ivvit_cli.training.mixing import Mixing
from ivvit_cli.training.optim import build_optimiser, parameter_groups
from ivvit_cli.training.rand_augment import RandAugment
from ivvit_cli.training.update import Update
from shards.stream.batch import Batch
from shards.stream.views import ViewedSample

FRAMES = 4
INPUT: dict[str, Any] = {"size": 16, "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.4)}


def batch(kind: str, colours: bool) -> Batch:
    """Return three samples and a filler."""
    rng = torch.Generator().manual_seed(1)
    frames = FRAMES if kind == "video" else 1
    neutral = [1.0, 1.0, 1.0, 0.0]
    return Batch(
        dataset="a",
        kind=kind,  # type: ignore[arg-type]
        frames=torch.randint(0, 256, (4, frames, 20, 24, 3), dtype=torch.uint8, generator=rng),
        boxes=torch.tensor([[1.0, 2.0, 17.0, 15.5]] * 4, dtype=torch.float64),
        cuts=torch.tensor([[0, 0, 20, 24]] * 4),
        flips=torch.tensor([True, False, True, False]),
        colours=torch.tensor([[1.5, 2.0, 0.9, 0.2] if colours else neutral] + [neutral] * 3),
        labels=torch.tensor([0, 1, 2, 0]),
        weights=torch.tensor([1.0, 1.0, 1.0, 0.0]),
        count=3,
        keys=("x", "y", "z", ""),
    )


def train(model: JointModel, device: torch.device, bf16: bool, kind: str, **update: Any) -> Any:
    """Return the loss and the norms of gradient and weights, after one update."""
    model = deepcopy(model).to(device).train()
    losses = Update(model, **INPUT, bf16=bf16, **update)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimiser = build_optimiser(
        parameter_groups(model, None), name="adamw", lr=1e-2, weight_decay=0.05
    )
    average = WeightAverage(trained, 0.9)
    BLOCKING.clear()
    torch.manual_seed(0)
    share = losses({"a": batch(kind, "mixing" in update).to(device)})["a"]
    losses.objective({"a": share}).backward()
    norm = torch.nn.utils.clip_grad_norm_(trained, 1.0)
    verdict = agree(Ranks(), torch.stack(share)[None].detach(), norm, 0)
    optimiser.step()
    average.update()
    waits = list(BLOCKING)
    weights = torch.cat([v.detach().flatten() for v in average.values]).double().cpu()
    return {
        "loss": verdict.losses[0],
        "norm": norm.item(),
        "weights": weights.norm().item(),
        "waits": waits,
    }


def evaluate(model: JointModel, device: torch.device) -> dict[str, Any]:
    """Return the scores of a video at 2x3 views, and what waited."""
    rng = torch.Generator().manual_seed(2)
    sample = ViewedSample(
        index=0,
        key="x",
        label=0,
        kind="video",
        frames=torch.randint(0, 256, (5, 16, 28, 3), dtype=torch.uint8, generator=rng),
        clips=np.array([[0, 1, 2, 3], [1, 2, 3, 4]]),
        boxes=torch.tensor([[0.0, x, 16.0, 16.0] for x in (0, 6, 12)], dtype=torch.float64),
    )
    model = deepcopy(model).to(device)
    BLOCKING.clear()
    with torch.no_grad():
        scores: Tensor = model(sample.render(*INPUT.values(), device), "a").mean(0)
    waits = list(BLOCKING)
    return {"scores": scores.cpu().tolist(), "waits": waits}


def main() -> None:
    """Read {name: {"model": what small_model takes, "update": what Update takes}}."""
    second_device.register()
    cpu, second, found = torch.device("cpu"), torch.device(NAME), {}
    for name, setting in json.load(sys.stdin).items():
        model, update = small_model(**setting["model"]), setting["update"]
        model.encoder.vit.set_grad_checkpointing(setting["recompute"])
        if "mixing" in update:
            update["mixing"] = {"a": Mixing(**update["mixing"])}
        if "changes" in update:
            update["changes"] = {"a": RandAugment(**update["changes"])}
        found[name] = {
            "train": {
                f"{where.type} {kind} {'bf16' if bf16 else 'fp32'}": train(
                    model, where, bf16, kind, **update
                )
                for kind in ("video", "image")
                for where, bf16 in ((cpu, False), (second, False), (second, True))
            },
            "eval": {where.type: evaluate(model, where) for where in (cpu, second)},
        }
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
