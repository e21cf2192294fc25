"""The typed form of a checkpoint's meta.json."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ivvit_cli.naming import Name

SCHEMA = 1


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class InputMeta(_Part):
    """What the backbone is fed: square crops of `size` pixels, normalised channel by channel."""

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


class EvalMeta(_Part):
    """How the run validates, and the default of `ivvit eval`; `batch` counts views."""

    views: str
    average: Literal["logits", "probabilities"]
    batch: int
    precision: Literal["auto", "fp32", "bf16"]


class HeadMeta(_Part):
    """One dataset's head: its classes in label order, and how its samples become input.

    `clip` and `conversion` are plain values: the recipe's clip section (None for images), and
    `short_side`, `fps` and `quality` of the conversion to shards.
    """

    kind: Literal["image", "video"]
    classes: tuple[str, ...]
    clip: dict[str, Any] | None
    conversion: dict[str, Any]
    shards: str
    eval_split: str | None
    min_short_side: int | None


class FrozenMeta(_Part):
    """Frozen weights that are not stored: whose they are, how many, and their sha256."""

    source: str
    sha256: str
    tensors: int


class ScoreMeta(_Part):
    """A validation of one dataset: accuracies in percent, and the words for what they hold for."""

    split: str
    views: str
    protocol: str
    samples: int
    top1: float
    top5: float
    mean_class: float


class Meta(_Part):
    """The content of `meta.json`: all that prediction and evaluation need beside the weights.

    `metrics` holds each dataset's scores where this iteration was validated, `files` the
    sha256 of the other files, and `sha256` that of the rest of this document. `frozen` is None
    where all weights are stored.
    """

    schema_version: int = Field(alias="schema")
    ivvit: str
    iteration: int
    model: dict[str, Any]
    input: InputMeta
    eval: EvalMeta
    heads: dict[Name, HeadMeta]
    frozen: FrozenMeta | None = None
    metrics: dict[str, ScoreMeta]
    files: dict[str, str]
    sha256: str
