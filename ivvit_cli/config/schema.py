"""The typed form of a recipe. Every key a recipe may hold stands here, with its default."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from ivvit_cli.config.data import Data
from ivvit_cli.config.model import Model
from ivvit_cli.config.section import Decay, Positive, PositiveReal, Section
from ivvit_cli.naming import Name

Whole = Annotated[int, Field(ge=0)]
Count = Annotated[int, Field(ge=0)]
Epochs = Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)?ep$")]
Moment = Annotated[Whole | Epochs, Field(description="iterations, or epochs as in 3ep")]
SomeEpochs = Annotated[
    str, Field(pattern=r"^([0-9]*[1-9][0-9]*(\.[0-9]+)?|[0-9]+\.[0-9]*[1-9][0-9]*)ep$")
]
Period = Annotated[Positive | SomeEpochs, Field(description="iterations, or epochs as in 3ep")]
Colour = tuple[float, float, float]


class Input(Section):
    """What the backbone is fed. What is left out comes from the backbone's own configuration."""

    size: Positive | None = None  # pixels of a square crop's side
    mean: Colour | None = None
    std: tuple[PositiveReal, PositiveReal, PositiveReal] | None = None


class Schedule(Section):
    """Which datasets an iteration updates on, and how many iterations there are.

    `sampling` is how often: in proportion to the datasets' sizes, to their square roots, all alike
    (`equal`), to their batches, or by given weights.
    """

    kind: Literal["sequential", "weighted", "accumulated", "sampled", "task_by_task"] = "sequential"
    batch: Positive | None = None  # weighted: samples of all datasets per update
    sampling: Literal["size", "sqrt", "equal", "batch"] | dict[Name, PositiveReal] = "size"
    iterations: Positive | None = None
    epochs: PositiveReal | None = None  # of a single dataset, or of all under `weighted`

    @model_validator(mode="after")
    def _length(self) -> "Schedule":
        if (self.iterations is None) == (self.epochs is None):
            raise ValueError("give either `iterations` or `epochs`")
        if (self.kind == "weighted") != (self.batch is not None):
            raise ValueError("`batch` belongs to `weighted`, and `weighted` needs it")
        return self


class Optim(Section):
    """The optimiser and its learning-rate schedule, which counts iterations."""

    name: Literal["adamw", "sgd"] = "adamw"
    lr: PositiveReal
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    betas: tuple[Decay, Decay] = (0.9, 0.999)
    momentum: Decay = 0.9
    nesterov: bool = False
    lr_schedule: Literal["constant", "cosine", "step"] = "constant"
    warmup: Moment = 0
    milestones: tuple[Moment, ...] = ()
    gamma: PositiveReal = 0.1
    clip_norm: PositiveReal | None = None
    layer_decay: Annotated[float, Field(gt=0, le=1)] | None = None  # of the rate, block by block
    label_smoothing: Decay = 0.0

    @model_validator(mode="after")
    def _check_nesterov(self) -> "Optim":
        if self.nesterov and not self.momentum:
            raise ValueError("`nesterov` needs `momentum`")
        return self


class Train(Section):
    """How the loop runs. Only `seed` and `precision` change what is learned beyond rounding."""

    seed: Whole = 0  # of fresh weights, the order of samples, crops and dropout
    precision: Literal["auto", "fp32", "bf16"] = "auto"  # auto: bf16 on CUDA, fp32 on the CPU
    accumulate: Positive = 1  # micro-batches per update
    parallel: Literal["ddp", "fsdp"] = "ddp"  # each process has all weights, or a share
    ema: Annotated[float, Field(ge=0, lt=1)] | None = None  # decay of the weights' average
    activation_checkpointing: bool = False  # recompute blocks in the backward pass: less memory
    compile: bool = False
    deterministic: bool = False
    log_every: Positive = 10


class Eval(Section):
    """Validation during training, and what `ivvit eval` does unless told otherwise."""

    views: Annotated[
        str, Field(pattern=r"^[1-9][0-9]*x[1-9][0-9]*$", description="CLIPSxCROPS, as in 10x3")
    ] = "1x1"
    every: Period | None = None
    average: Literal["logits", "probabilities"] = "logits"
    batch: Positive = 16  # views per forward pass


class Checkpoint(Section):
    """When the state is saved, and how many of the newest checkpoints are kept."""

    every: Period | None = None
    keep: Positive = 3


class Cache(Section):
    """Where shards of URLs are kept, and how much of them (docs/shards.md, Remote shards)."""

    dir: str | None = None  # default: $IVVIT_CACHE, else ~/.cache/ivvit
    limit: Annotated[
        str | None,
        Field(pattern=r"^[0-9]+(\.[0-9]+)? ?(KB|MB|GB|TB)$", description="a size, as in 500GB"),
    ] = None  # default: $IVVIT_CACHE_LIMIT, else 100GB


class Loader(Section):
    """How batches are read and decoded. None of it changes what is in them."""

    threads: Count | None = None  # 0: in the process itself; default: every core
    prefetch: Positive = 4  # updates decoded ahead
    decode: Literal["cpu", "gpu"] = "cpu"
    cache: Cache = Cache()


class Recipe(Section):
    """A whole run."""

    description: str = ""
    model: Model
    input: Input = Input()
    data: Annotated[dict[Name, Data], Field(min_length=1)]
    schedule: Schedule
    optim: Optim
    train: Train = Train()
    eval: Eval = Eval()
    checkpoint: Checkpoint = Checkpoint()
    loader: Loader = Loader()

    @model_validator(mode="after")
    def _check_head(self) -> "Recipe":
        if self.model.head is not None and self.model.head not in self.data:
            raise ValueError(f"`model.head` is {self.model.head}, which is none of the datasets")
        return self

    @model_validator(mode="after")
    def _check_batches(self) -> "Recipe":
        sampling = self.schedule.sampling
        for name, data in self.data.items():
            if data.batch is None and (self.schedule.kind != "weighted" or sampling == "batch"):
                raise ValueError(f"`data.{name}` needs a `batch`")
        if isinstance(sampling, dict) and (odd := sampling.keys() ^ self.data.keys()):
            raise ValueError(f"`schedule.sampling` names other datasets than `data`: {odd.pop()}")
        return self
