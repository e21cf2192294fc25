"""Files through the heads of a model, in the packed forward passes of evaluation."""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ivvit_cli.evaluation.forward import Average, ViewForward, pass_size
from ivvit_cli.evaluation.protocol import most_views
from ivvit_cli.evaluation.runner import evaluation_mode
from ivvit_cli.prediction.files import MediaFile
from ivvit_cli.prediction.heads import Head, Reading
from ivvit_cli.prediction.media import view_file
from shards.errors import InputError
from shards.index import Kind
from shards.stream.ahead import Ahead
from shards.stream.pool import available_cores
from shards.stream.views import ViewedSample, Views


@dataclass
class Prediction:
    """A file and each head's probabilities, (C,) float32; none when there is an error."""

    path: Path
    kind: Kind | None
    error: str | None = None
    scores: dict[str, NDArray[np.float32]] = field(default_factory=dict)


def predict(
    model: nn.Module,
    files: Sequence[MediaFile],
    heads: Sequence[Head],
    *,
    views: Views,
    size: int,
    mean: Sequence[float],
    std: Sequence[float],
    average: Average = "logits",
    bf16: bool = False,
    batch: int = 16,
    device: torch.device | str,
    on_file: Callable[[], object] | None = None,
) -> list[Prediction]:
    """Score files with every head given; the result is in the order of the files.

    A file goes through the code that evaluates a sample of shards: the files of a split, in its
    order, get the very scores of that split. A file that cannot be read ends up with its error.

    Args:
        bf16: run the model under bf16 autocast.
        batch: the most views per forward pass; it changes scores by rounding only.
        on_file: called once per file.

    Raises:
        EnvironmentFault: `batch` views do not fit into the device's memory.
    """
    lanes = _open_lanes(model, files, heads, views=views, average=average, bf16=bf16, batch=batch)
    look = partial(_look_at, heads=heads, views=views, size=size)
    predictions = []
    with torch.no_grad(), evaluation_mode(model), _FileReader(files, look) as reader:
        for prediction, seen in reader:
            predictions.append(prediction)
            for reading, sample in seen.items():
                x = sample.render(size, mean, std, device)  # (V, [T,] 3, S, S)
                for lane in lanes:
                    if lane.takes(prediction.kind, reading):
                        lane.add(prediction, x)
            if on_file:
                on_file()
        for lane in lanes:
            lane.finish()
    return predictions


class _Lane:
    """One head and the files of one kind, whose views agree in shape and so share passes."""

    def __init__(self, head: Head, kind: Kind, forward: ViewForward, average: Average) -> None:
        self._head = head
        self._kind = kind
        self._forward = forward
        self._average = average
        self._waiting: deque[Prediction] = deque()

    def takes(self, kind: Kind | None, reading: Reading) -> bool:
        return kind == self._kind and reading == self._head.readings[self._kind]

    def add(self, prediction: Prediction, views: Tensor) -> None:
        self._waiting.append(prediction)
        self._hand_out(self._forward.add(views))

    def finish(self) -> None:
        self._hand_out(self._forward.finish())

    def _hand_out(self, done: Iterable[Tensor]) -> None:
        for scores in done:
            prediction = self._waiting.popleft()
            shares = scores.softmax(0) if self._average == "logits" else scores  # (C,)
            prediction.scores[self._head.name] = shares.cpu().numpy()
            if shares.isnan().any():
                prediction.error = f"{prediction.path}: the head {self._head.name} gives NaN scores"


def _open_lanes(
    model: nn.Module,
    files: Iterable[MediaFile],
    heads: Sequence[Head],
    *,
    views: Views,
    average: Average,
    bf16: bool,
    batch: int,
) -> list[_Lane]:
    lanes = []
    for kind, count in Counter(file.kind for file in files if file.kind).items():
        rows = pass_size(batch, count * most_views(kind, views))
        for head in heads:
            forward = ViewForward(model, head.name, size=rows, average=average, bf16=bf16)
            lanes.append(_Lane(head, kind, forward, average))
    return lanes


Seen = tuple[Prediction, Mapping[Reading, ViewedSample]]


class _FileReader(Ahead[MediaFile, Future[Seen], Seen]):
    """Iterate over the files in order, each with its views, read ahead by threads."""

    def __init__(self, files: Iterable[MediaFile], look: Callable[[MediaFile], Seen]) -> None:
        super().__init__(files, threads=None, prefetch=2 * available_cores())
        self._look = look

    def _start(self, item: MediaFile) -> Future[Seen]:
        return self._pool.submit(self._look, item)

    def _finish(self, pending: Future[Seen]) -> Seen:
        return pending.result()


def _look_at(file: MediaFile, *, heads: Sequence[Head], views: Views, size: int) -> Seen:
    prediction = Prediction(file.path, file.kind, file.error)
    if file.kind is None:
        return prediction, {}
    readings = dict.fromkeys(head.readings[file.kind] for head in heads)
    try:
        return prediction, view_file(file.path, file.kind, readings, views=views, size=size)
    except InputError as error:
        prediction.error = error.message
        return prediction, {}
