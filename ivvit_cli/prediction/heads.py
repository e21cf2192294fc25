"""How each head wants a file read, and the labels that its scores stand for."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ivvit_cli.evaluation.protocol import clip_arguments
from shards.manifest import Kind


@dataclass(frozen=True)
class Reading:
    """What a file becomes before the model sees it: the conversion of shards, then the clips.

    The names are those of `shards.convert` (`short_side`, `fps`, `quality`) and of
    `shards.stream.clips.place_clips` (`sample`, `length`, `seconds`, `stride`; videos only).
    """

    short_side: int | None = None
    fps: float | None = None
    quality: int = 3
    sample: str | None = None
    length: int = 1
    seconds: float | None = None
    stride: int | None = None

    @property
    def conversion(self) -> dict[str, Any]:
        """The keywords of a conversion."""
        return {key: value for key, value in asdict(self).items() if key in _CONVERSION}

    @property
    def clip(self) -> dict[str, Any]:
        """The keywords of a video's clips."""
        return {key: value for key, value in asdict(self).items() if key not in _CONVERSION}


_CONVERSION = ("short_side", "fps", "quality")
DEFAULTS: dict[Kind, Reading] = {
    "image": Reading(),
    "video": Reading(short_side=320, sample="uniform", length=8),
}


@dataclass(frozen=True)
class Head:
    """One head: its name, the kind of its dataset, its classes, and how it reads either kind."""

    name: str
    kind: Kind
    classes: Sequence[str]
    readings: Mapping[Kind, Reading]

    def best(self, scores: NDArray[np.float32], top: int) -> list[tuple[str, float]]:
        """Return the `top` labels of the highest scores, (C,); equal ones keep class order."""
        order = np.argsort(-scores, kind="stable")[:top]
        return [(self.classes[label], float(scores[label])) for label in order]


def make_heads(described: Mapping[str, Mapping[str, Any]]) -> list[Head]:
    """Return the heads that a checkpoint's `meta.json` describes.

    A file of a head's own kind is read exactly as the samples of its dataset were. One of the
    other kind is read as the first head of that kind reads it; where there is none, an image as it
    is and a video as eight frames spread over the whole of it, at a short side of 320 pixels.
    """
    own = {name: _own_reading(head) for name, head in described.items()}
    shared = dict(DEFAULTS)
    for name in reversed(list(described)):
        shared[described[name]["kind"]] = own[name]
    return [
        Head(name, head["kind"], head["classes"], {**shared, head["kind"]: own[name]})
        for name, head in described.items()
    ]


def _own_reading(head: Mapping[str, Any]) -> Reading:
    known = {key: value for key, value in head["conversion"].items() if value is not None}
    return Reading(**known, **clip_arguments(head["clip"]))
