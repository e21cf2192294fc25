"""One head of a checkpoint on its shards: the scores, what they hold for, and their files."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from ivvit_cli.evaluation.device import wants_bf16
from ivvit_cli.evaluation.metrics import Scores
from ivvit_cli.evaluation.order import Order
from ivvit_cli.evaluation.protocol import Protocol
from ivvit_cli.evaluation.results import write_results
from ivvit_cli.evaluation.runner import evaluate
from ivvit_cli.evaluation.targets import Target
from ivvit_cli.meta import Meta
from ivvit_cli.runs import CHECKPOINTS
from ivvit_cli.training.distributed import Ranks
from shards.stream.views import Views


@dataclass(frozen=True)
class Evaluation:
    """The scores of one dataset's split under one protocol."""

    target: Target
    protocol: Protocol
    scores: Scores

    @property
    def folder_name(self) -> str:
        """The folder, below `RUN/eval`, for its files."""
        name = f"{self.target.dataset}-{self.target.split.name}-{self.protocol.views}"
        return name if self.protocol.order == "normal" else f"{name}-{self.protocol.order}"


def evaluate_target(
    model: nn.Module,
    meta: Meta,
    target: Target,
    *,
    views: Views,
    order: Order,
    batch: int | None,
    device: torch.device,
    ranks: Ranks,
    on_sample: Callable[[], object] | None = None,
) -> Evaluation:
    """Evaluate a loaded checkpoint on one dataset; `batch` None takes the run's own.

    Of several processes (`ranks`) each scores its share, and all return all scores.

    Raises:
        InputError, EnvironmentFault: as `evaluate`.
    """
    bf16 = wants_bf16(meta.eval.precision, device)
    protocol = Protocol(views, target.clip, meta.input.size, meta.eval.average, bf16, order)
    scores = evaluate(
        model,
        target.split,
        dataset=target.dataset,
        protocol=protocol,
        mean=meta.input.mean,
        std=meta.input.std,
        batch=batch or meta.eval.batch,
        device=device,
        rank=ranks.rank,
        world=ranks.world,
        on_sample=on_sample,
    )
    return Evaluation(target, protocol, scores)


def save_evaluation(evaluation: Evaluation, checkpoint: Path, meta: Meta) -> Path:
    """Write the files of an evaluation into the checkpoint's run, and return their folder.

    A checkpoint that lies in no run keeps them itself.
    """
    inside = checkpoint.parent.name == CHECKPOINTS
    run = checkpoint.parent.parent if inside else checkpoint
    folder = run / "eval" / evaluation.folder_name
    protocol = {
        "dataset": evaluation.target.dataset,
        "split": evaluation.target.split.name,
        **evaluation.protocol.document(),
        "words": str(evaluation.protocol),
        "checkpoint": checkpoint.name,
        "iteration": meta.iteration,
    }
    classes = evaluation.target.split.classes
    write_results(folder, evaluation.scores, classes=classes, protocol=protocol)
    return folder
