"""Files through the heads of a model, in the packed forward passes of evaluation."""

import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence

import torch

from ivvit_cli.evaluation.forward import Average
from ivvit_cli.evaluation.runner import evaluation_mode
from ivvit_cli.models import JointModel
from ivvit_cli.prediction.files import MediaFile
from ivvit_cli.prediction.heads import Head
from ivvit_cli.prediction.lanes import Lane, open_lanes
from ivvit_cli.prediction.reader import Prediction, open_reader
from ivvit_cli.prediction.windows import Windows
from shards.stream.views import Views

_WAITING = 4  # batches of predictions that may wait for one in a pass that does not fill
_PATIENCE = 10.0  # seconds that a window waits for others, while more are read


def predict(
    model: JointModel,
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
    windows: Windows | None = None,
    device: torch.device | str,
) -> Iterator[Prediction]:
    """Score files with every head given; each is handed out as soon as it and those before are.

    A file goes through the code that evaluates a sample of shards: the files of a split, in its
    order, get the very scores of that split. Heads that read a file alike share its features, but
    where these depend on the dataset. A file that cannot be read ends with its error.

    Args:
        bf16: run the model under bf16 autocast.
        batch: the most views per forward pass; it changes scores by rounding only.
        windows: score every window of a video, instead of the video.

    Raises:
        EnvironmentFault: `batch` views do not fit into the device's memory.
    """
    lanes = open_lanes(
        model, files, heads, views=views, average=average, bf16=bf16, batch=batch,
        counted=windows is None,
    )  # fmt: skip
    waiting: deque[Prediction] = deque()
    with (
        evaluation_mode(model),
        open_reader(files, heads, windows, views=views, size=size) as reader,
    ):
        for prediction, seen in reader:
            waiting.append(prediction)
            prediction.awaited = len(heads) if seen else 0
            for reading, sample in seen.items():
                x = sample.render(size, mean, std, device)  # (V, [T,] 3, S, S)
                for lane in lanes:
                    if lane.takes(prediction.kind, reading):
                        lane.add(prediction, x)
            if len(waiting) > _WAITING * batch or (windows and _is_old(waiting[0])):
                _finish(lanes)
            yield from _completed(waiting)
        _finish(lanes)
        yield from _completed(waiting)


def _finish(lanes: Iterable[Lane]) -> None:
    for lane in lanes:
        lane.finish()


def _is_old(prediction: Prediction) -> bool:
    return time.monotonic() - prediction.read > _PATIENCE


def _completed(waiting: deque[Prediction]) -> Iterator[Prediction]:
    while waiting and len(waiting[0].scores) == waiting[0].awaited:
        yield waiting.popleft()
