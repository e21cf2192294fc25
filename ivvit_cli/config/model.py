"""The keys of a recipe's `model`: the backbone and how its frames meet."""

from typing import Annotated, Any, Literal

from pydantic import Field

from ivvit_cli.config.adapters import AdaptFormer, AmFlow, Lora, StAdapter
from ivvit_cli.config.section import Positive, Section

Count = Annotated[int, Field(ge=0)]


class NoTemporal(Section):
    """Frame-wise ViT: frames do not see each other (IV-ViT 3.2)."""

    kind: Literal["none"] = "none"


class TokenShift(Section):
    """Class-token channels move by one frame (TokenShift; IV-ViT Eq. 7)."""

    kind: Literal["token_shift"]
    fold_div: Positive = 4
    layout: Literal["official", "paper"] = "official"


class Msca(Section):
    """Queries, keys or values of some heads, or (`p`) tokens, move by one frame (MSCA 3.2)."""

    kind: Literal["msca"]
    variant: Literal[
        "Q", "K", "V", "QK", "KV", "QV", "QKV", "pQ", "pK", "pV", "pQK", "pKV", "pQV", "pQKV"
    ] = "KV"
    backward: Count | None = None  # heads or tokens from frame t-1; default: 1 head, 8 tokens
    forward: Count | None = None  # from frame t+1; the same default
    boundary: Literal["zero", "self"] = "zero"
    layout: Literal["paper", "official", "adjacent"] = "paper"
    blocks: Annotated[
        str, Field(pattern=r"^(all|last:[0-9]+)$", description="all, or as in last:4")
    ] = "all"


class SpaceTime(Section):
    """Attention over time, then space, or over both at once (TimeSformer; CoVeR 3.1)."""

    kind: Literal["divided", "joint"]
    frames: Positive = 8  # embeddings of time; clips of another length take the nearest


class SpaceOnly(Section):
    """Frames do not see each other; the mean over time comes before the last norm (TimeSformer)."""

    kind: Literal["space_only"]


class Tubelet(Section):
    """Clips have a tokenizer of their own, of a few frames per token (PolyViT; ViViT model 1)."""

    kind: Literal["tubelet"]
    frames: Positive = 32  # a multiple of `depth`
    depth: Positive = 2  # frames per token
    inflation: Literal["central", "average"] = "central"  # what it makes of an image's weights


Temporal = Annotated[
    NoTemporal
    | TokenShift
    | Msca
    | SpaceTime
    | SpaceOnly
    | Tubelet
    | AmFlow
    | StAdapter
    | AdaptFormer,
    Field(discriminator="kind"),
]


class Model(Section):
    """The backbone, where its weights come from, and how its frames meet."""

    backbone: str
    backbone_args: dict[str, Any] = Field(default_factory=dict)
    weights: str | None = None
    head: str | None = None  # the dataset that takes the classifier of the weights
    parts: dict[str, str | None] = Field(default_factory=dict)  # parameters from other weights
    temporal: Temporal = NoTemporal()
    separate: tuple[Literal["patch", "pos", "cls"], ...] = ()  # embeddings that clips have alone
    freeze: tuple[str, ...] = ()  # `backbone`, or parameters' names in which * is anything
    lora: Lora | None = None  # beside a frozen backbone
