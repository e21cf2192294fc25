"""The most confident mistakes of an evaluation, with their frames."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ivvit_cli.config import locate_shards
from ivvit_cli.errors import IvvitError
from ivvit_cli.evaluation.results import softmax
from ivvit_cli.reporting.record import EvaluationRecord
from shards.stream.dataset import open_dataset
from shards.stream.decode import decode_frame
from shards.stream.reader import Split

_HEIGHT = 96  # pixels of a picture
_FRAMES = 3  # of a video


@dataclass(frozen=True)
class Mistake:
    """A sample, its class, what it was taken for and how surely, and JPEGs of its frames."""

    key: str
    label: int
    taken_for: int
    confidence: float
    frames: list[bytes]


def find_mistakes(record: EvaluationRecord, shards: str, most: int) -> list[Mistake]:
    """Return the samples that are wrong with the highest probability.

    Args:
        shards: where the dataset's shards are, as the recipe says. Without them, or with others,
            there are no frames.
    """
    scores = record.scores
    averaged = record.figures["protocol"].get("average", "logits")
    shares = scores.scores if averaged == "probabilities" else softmax(scores.scores)
    confidence = np.where(scores.hits, -1.0, np.nan_to_num(shares.max(1), nan=-1.0))
    order = [int(i) for i in np.argsort(-confidence, kind="stable")[:most] if confidence[i] >= 0]
    split = _open(record, shards)
    return [
        Mistake(
            key=scores.keys[i],
            label=int(scores.labels[i]),
            taken_for=int(shares[i].argmax()),
            confidence=float(confidence[i]),
            frames=_frames(split, i, scores.keys),
        )
        for i in order
    ]


def _open(record: EvaluationRecord, shards: str) -> Split | None:
    try:
        split = open_dataset(locate_shards(shards))[str(record.figures["protocol"]["split"])]
    except IvvitError:
        return None
    return split if len(split) == len(record.scores.keys) else None


def _frames(split: Split | None, i: int, keys: Sequence[str]) -> list[bytes]:
    if split is None or split.key(i) != keys[i]:
        return []
    try:
        sample = split[i]
        count = min(_FRAMES, len(sample.frames))
        places = [(2 * k + 1) * len(sample.frames) // (2 * count) for k in range(count)]
        return [_small(decode_frame(sample.frames[place], sample.codec)) for place in places]
    except IvvitError:
        return []


def _small(pixels: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]") -> bytes:
    image = Image.fromarray(pixels)
    width = max(1, round(image.width * _HEIGHT / image.height))
    how = Image.Resampling.LANCZOS if image.height > _HEIGHT else Image.Resampling.NEAREST
    file = io.BytesIO()
    image.resize((min(width, 4 * _HEIGHT), _HEIGHT), how).save(file, format="JPEG", quality=80)
    return file.getvalue()
