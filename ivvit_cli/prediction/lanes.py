"""A head and the files of one kind, whose views share forward passes."""

from collections import Counter, deque
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from ivvit_cli.evaluation.forward import Average, ViewForward, pass_size
from ivvit_cli.evaluation.protocol import most_views
from ivvit_cli.prediction.files import MediaFile
from ivvit_cli.prediction.heads import Head, Reading
from ivvit_cli.prediction.reader import Prediction
from shards.manifest import Kind
from shards.stream.views import Views


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
    model: nn.Module,
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
        for head in heads:
            forward = ViewForward(model, head.name, size=rows, average=average, bf16=bf16)
            lanes.append(Lane(head, kind, forward, average, pad=counted))
    return lanes
