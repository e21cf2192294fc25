"""A dataset's part of a recipe: its shards, its clips, its augmentation."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from ivvit_cli.config.section import Positive, PositiveReal, Section


def _check_order(bounds: tuple[float, float]) -> tuple[float, float]:
    if bounds[0] > bounds[1]:
        raise ValueError("must be the lower and the higher bound, in this order")
    return bounds


Ordered = AfterValidator(_check_order)
Share = Annotated[float, Field(ge=0, le=1)]
Area = Annotated[float, Field(gt=0, le=1)]  # as a share of the source image's


class Clip(Section):
    """How a training clip is taken from a video (`shards.stream.clips`)."""

    sample: Literal["window", "dense", "uniform", "segment"] = "window"
    frames: Positive = 16
    seconds: PositiveReal | None = None  # window: its duration
    stride: Positive | None = None  # dense: source frames between clip frames

    @model_validator(mode="after")
    def _complete(self) -> "Clip":
        if self.sample == "window" and self.seconds is None:
            raise ValueError("a `window` clip needs `seconds`")
        if self.sample == "dense" and self.stride is None:
            raise ValueError("a `dense` clip needs `stride`")
        return self


class RandAugment(Section):
    """Random operations of torchvision's, the same for all frames of a clip."""

    ops: Positive = 2
    magnitude: Annotated[int, Field(ge=0, le=30)] = 9


class Augment(Section):
    """One set of random values per clip or image.

    `random_resized` takes a box of `area` x `ratio` (IV-ViT 5.3, images); `short_side` scales the
    short side to a random length and crops at a random place (IV-ViT 5.3, videos); `none` takes
    the centre crop at short side = size. What is left out follows the dataset's kind.
    """

    crop: Literal["random_resized", "short_side", "none"] | None = None
    area: Annotated[tuple[Area, Area], Ordered] = (0.08, 1.0)
    ratio: Annotated[tuple[PositiveReal, PositiveReal], Ordered] = (3 / 4, 4 / 3)
    # pixels; default: 1 to 10/7 of the size
    short_side: Annotated[tuple[Positive, Positive], Ordered] | None = None
    flip: Share = 0.5
    colour: Share = 0.0  # of changing each of brightness, saturation, gamma and hue (TokenShift)
    rand_augment: RandAugment | None = None
    mixup: Annotated[float, Field(ge=0)] = 0.0  # alpha of its Beta distribution; 0: none
    cutmix: Annotated[float, Field(ge=0)] = 0.0  # the same; with both, each batch has one


class Data(Section):
    """One dataset: its shards and how its samples become a batch."""

    shards: str
    batch: Positive | None = None  # samples per update; under `weighted` their number follows
    weight: Annotated[float, Field(ge=0)] = 1.0  # of its loss
    split: str = "train"
    eval_split: str | None = None  # default: `val`, else `test`
    clip: Clip | None = None
    augment: Augment = Augment()
    min_short_side: Positive | None = None  # warn when the shards hold smaller frames
