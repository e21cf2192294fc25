"""A checkpoint as that which predicts: its heads, views and device, and the model when needed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from ivvit_cli.evaluation.device import choose_device, wants_bf16
from ivvit_cli.evaluation.targets import choose_heads
from ivvit_cli.meta import Meta
from ivvit_cli.prediction.files import MediaFile
from ivvit_cli.prediction.heads import Head, make_heads
from ivvit_cli.prediction.reader import Prediction
from ivvit_cli.prediction.runner import predict
from ivvit_cli.prediction.windows import Windows
from ivvit_cli.runs import find_checkpoint, load_model, read_meta
from shards.stream.views import Views, parse_views


@dataclass(frozen=True)
class Predictor:
    """A checkpoint, some of its heads, and how they look at files."""

    checkpoint: Path
    meta: Meta
    heads: Sequence[Head]
    views: Views
    device: torch.device

    def predict(
        self,
        files: Sequence[MediaFile],
        windows: Windows | None,
        *,
        batch: int | None,
        backbone: str | None,
    ) -> Iterator[Prediction]:
        """Load the model, and return the predictions to come (`ivvit_cli.prediction.runner`).

        Args:
            batch: None takes that of the run's own validation.
            backbone: where the run's frozen weights are, if not where it says.

        Raises:
            InputError, EnvironmentFault: as `ivvit_cli.runs.load_model`.
        """
        return predict(
            load_model(self.checkpoint, self.device, backbone)[0],
            files,
            self.heads,
            views=self.views,
            **self.meta.input.model_dump(),
            average=self.meta.eval.average,
            bf16=wants_bf16(self.meta.eval.precision, self.device),
            batch=batch or self.meta.eval.batch,
            windows=windows,
            device=self.device,
        )


def open_predictor(
    reference: str, wanted: Sequence[str], *, views: str | None, device: str
) -> Predictor:
    """Find a checkpoint and choose of its heads, all if none is named.

    Args:
        views: None takes those of the run's own validation.

    Raises:
        InputError: there is no such checkpoint.
        UsageError: it has no such head, or the views or the device are none.
        EnvironmentFault: this machine has no such device.
    """
    checkpoint = find_checkpoint(reference)
    meta = read_meta(checkpoint)
    seen = parse_views(views or meta.eval.views)
    names = choose_heads(list(meta.heads), wanted, "--head")
    described = {name: entry.model_dump() for name, entry in meta.heads.items()}
    heads = [entry for entry in make_heads(described) if entry.name in names]
    return Predictor(checkpoint, meta, heads, seen, choose_device(device))
