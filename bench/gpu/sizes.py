"""How large the models and how long the measurements are."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Sizes:
    """What is measured.

    Args:
        model: a recipe's backbone and its arguments.
        size: pixels of a square frame.
        clips: frames per clip -> the most clips per step; fewer where memory is short.
        seconds: of each measurement, after `warmup` steps.
        rounds: of paired measurements.
        matrix: the side of the matrices whose product is the ceiling.
        videos, length, shape: the synthetic videos: how many, frames, (height, width).
        peer: width, depth and heads of Hugging Face's TimeSformer.
        backend: of torch.compile.
        budget: seconds after which what is left is not measured.
    """

    model: dict[str, Any]
    size: int
    clips: dict[int, int]
    seconds: float
    warmup: int
    rounds: int
    matrix: int
    videos: int
    length: int
    shape: tuple[int, int]
    peer: dict[str, int]
    backend: str = "inductor"
    budget: float = 400.0
    classes: int = field(default=400, kw_only=True)


FULL = Sizes(
    model={"backbone": "vit_base_patch16_224", "backbone_args": {}},
    size=224,
    clips={8: 64, 16: 32},
    seconds=4.0,
    warmup=3,
    rounds=5,
    matrix=8192,
    videos=48,
    length=40,
    shape=(320, 426),
    peer={"width": 768, "depth": 12, "heads": 12},
)
TINY = Sizes(  # for a test on a CPU
    model={
        "backbone": "vit_tiny_patch16_224",
        "backbone_args": {"img_size": 32, "embed_dim": 32, "depth": 2, "num_heads": 4},
    },
    size=32,
    clips={2: 2},
    seconds=0.0,
    warmup=1,
    rounds=1,
    matrix=64,
    videos=2,
    length=4,
    shape=(36, 48),
    peer={"width": 32, "depth": 2, "heads": 4},
    backend="eager",
)
