"""A head and the files of one kind, whose views share forward passes."""

from collections import Counter, deque
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from ivvit_cli.evaluation.forward import Average, ViewForward, pass_size
from ivvit_cli.evaluation.protocol import most_views
from ivvit_cli.models import JointModel
from ivvit_cli.models.heads import head_key
from ivvit_cli.prediction.files import MediaFile
from ivvit_cli.prediction.heads import Head, Reading
from ivvit_cli.prediction.reader import Prediction
from shards.manifest import Kind
from shards.stream.views import Views


class _SharedEncoder:
    """A model for heads that are shown the same passes in the same order: features are made once.

    Args:
        datasets: the heads; the first is shown a pass before the others.
    """

    def __init__(self, model: JointModel, datasets: Sequence[str]) -> None:
        self._model = model
        self._waiting = {name: deque[tuple[Tensor, ...]]() for name in datasets[1:]}

    def __call__(self, x: Tensor, dataset: str) -> Tensor:
        if dataset in self._waiting:
            features = self._waiting[dataset].popleft()
        else:
            features = self._model.encoder(x, dataset)
            for waiting in self._waiting.values():
                waiting.append(features)
        logits: Tensor = self._model.heads[head_key(dataset)](features)
        return logits


class Lane:
    """One head and the files of one kind, whose views agree in shape and so share passes."""

    def __init__(
        self, head: Head, kind: Kind, forward: ViewForward, average: Average, *, pad: bool
    ) -> None:
        self._pad = pad
        self._head = head
        self._kind = kind
        self._forward = forward
        self._average = average
        self._waiting: deque[Prediction] = deque()

    def takes(self, kind: Kind | None, reading: Reading) -> bool:
        return kind == self._kind and reading == self._head.readings[self._kind]

    @torch.no_grad()  # here, as a generator would leave it on for its caller
    def add(self, prediction: Prediction, views: Tensor) -> None:
        self._waiting.append(prediction)
        self._hand_out(self._forward.add(views))

    @torch.no_grad()
    def finish(self) -> None:
        self._hand_out(self._forward.finish(pad=self._pad))

    def _hand_out(self, done: Iterable[Tensor]) -> None:
        for scores in done:
            prediction = self._waiting.popleft()
            shares = scores.softmax(0) if self._average == "logits" else scores  # (C,)
            prediction.scores[self._head.name] = shares.cpu().numpy()
            if shares.isnan().any():
                prediction.error = f"{prediction.path}: the head {self._head.name} gives NaN scores"


def open_lanes(
    model: JointModel,
    files: Iterable[MediaFile],
    heads: Sequence[Head],
    *,
    views: Views,
    average: Average,
    bf16: bool,
    batch: int,
    counted: bool,
) -> list[Lane]:
    """Return a lane for each head and kind.

    Passes over files, which are `counted`, have the shape of evaluation's; others are of `batch`
    views, or of as many as there are when the lane is finished.
    """
    lanes = []
    for kind, count in Counter(file.kind for file in files if file.kind).items():
        rows = pass_size(batch, count * most_views(kind, views)) if counted else batch
        shared = _share(model, heads, kind)
        for head in heads:
            forward = ViewForward(
                shared[head.name], head.name, size=rows, average=average, bf16=bf16
            )
            lanes.append(Lane(head, kind, forward, average, pad=counted))
    return lanes


def _share(model: JointModel, heads: Sequence[Head], kind: Kind) -> dict[str, _SharedEncoder]:
    """Return what runs the passes of each head, the same for those that read a kind alike."""
    groups: dict[object, list[str]] = {}
    for head in heads:
        alike = head.name if model.encoder.by_dataset else head.readings[kind]
        groups.setdefault(alike, []).append(head.name)
    shared = [(names, _SharedEncoder(model, names)) for names in groups.values()]
    return {name: encoder for names, encoder in shared for name in names}
