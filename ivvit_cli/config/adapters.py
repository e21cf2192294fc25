"""The keys of what puts adapters beside a backbone: temporal kinds, and LoRA."""

from typing import Annotated, Literal

from pydantic import Field

from ivvit_cli.config.section import Decay, Positive, PositiveReal, Section


class NoFlow(Section):
    """Adapters see one frame at a time."""

    kind: Literal["none"]


class _Flow(Section):
    kind: str
    channels: Literal["head", "mean", "width"]  # of a token's flow: heads, 1 or D
    tokens: Literal["all", "patches"] = "all"  # whose attention maps
    softmax: Literal["keys", "queries"] = "keys"  # and summed over the others
    last: Literal["repeat", "still"] = "repeat"  # of the last frame: the one before, or no motion
    detach: bool = False  # no gradient through it


class VanillaFlow(_Flow):
    """AM Flow where the camera stands (Eq. 3). The paper leaves every key but `kind` open."""

    kind: Literal["vanilla"]
    channels: Literal["head", "mean", "width"] = "head"


class AlignedFlow(_Flow):
    """AM Flow where the camera moves: of maps that an encoder has aligned (Eq. 4 and 5)."""

    kind: Literal["aligned"] = "aligned"
    channels: Literal["head", "mean", "width"] = "width"
    heads: Positive | None = None  # of the aligning encoder; default: the backbone's
    hidden: Positive = 1024  # its feed-forward width


class _Adapter(Section):
    kind: str
    width: Positive = 128
    placement: Literal["parallel", "serial"] = "parallel"


class PlainAdapter(_Adapter):
    """A bottleneck with parameters of its own (AM Flow Eq. 1 and 6)."""

    kind: Literal["plain"] = "plain"


class HyperformerAdapter(_Adapter):
    """Its weights are made by a network that all adapters share (Hyperformer)."""

    kind: Literal["hyperformer"]
    embedding: Positive = 64  # of dataset, block and place


class CompacterAdapter(_Adapter):
    """Its matrices are sums of Kronecker products (Compacter)."""

    kind: Literal["compacter"]
    terms: Positive = 4  # a divisor of both widths


class _Unit(Section):
    kind: str
    tokens: Literal["mean", "all"] = "mean"  # one sequence, of their mean; or one per token


class MeanUnit(_Unit):
    """The mean over time."""

    kind: Literal["mean"]


class LstmUnit(_Unit):
    """The last state of an LSTM."""

    kind: Literal["lstm"] = "lstm"
    hidden: Positive | None = None  # default: the adapter's width
    layers: Positive = 1


class TcnUnit(_Unit):
    """A temporal convolutional network, and the mean over time."""

    kind: Literal["tcn"]
    layers: Positive = 1  # residual blocks of two convolutions
    kernel: Positive = 2
    dropout: Decay = 0.2


class TransformerUnit(_Unit):
    """A transformer encoder that knows the frames' places, and the mean over time."""

    kind: Literal["transformer"]
    heads: Positive = 8
    hidden: Positive = 1024
    layers: Positive = 1
    dropout: Decay = 0.1


class Lora(Section):
    """Low-rank updates beside layers of a frozen backbone (LoRA)."""

    rank: Positive = 8
    alpha: Positive | None = None  # they are scaled by alpha / rank; default: twice the rank
    dropout: Decay = 0.0
    targets: Annotated[tuple[Literal["qkv", "proj", "fc1", "fc2"], ...], Field(min_length=1)] = (
        "qkv",
        "proj",
    )


class AmFlow(Section):
    """Adapters fed with the change of attention maps; units that process time (AM Flow)."""

    kind: Literal["am_flow"]
    flow: Annotated[NoFlow | VanillaFlow | AlignedFlow, Field(discriminator="kind")] = AlignedFlow()
    blocks: Annotated[
        Literal["all"] | tuple[Positive, ...], Field(description="all, or a list as in [1, 12]")
    ] = "all"  # those with flow and units
    adapter: Annotated[
        PlainAdapter | HyperformerAdapter | CompacterAdapter, Field(discriminator="kind")
    ] = PlainAdapter()
    unit: Annotated[
        MeanUnit | LstmUnit | TcnUnit | TransformerUnit, Field(discriminator="kind")
    ] = LstmUnit()
    last_frame: bool = True  # whether the last frame's class token is an output too
    vote: Literal["mean", "frozen_random", "learned"] = "mean"  # how the outputs' logits are joined
    adapters: Literal["shared", "per-dataset"] = "shared"


class StAdapter(Section):
    """Adapters with a convolution over time and place (ST-Adapter)."""

    kind: Literal["st_adapter"]
    width: Positive = 384
    kernel: tuple[Positive, Positive, Positive] = (3, 1, 1)  # frames, rows, columns: odd numbers
    before: Annotated[tuple[Literal["attn", "mlp"], ...], Field(min_length=1)] = ("attn", "mlp")
    adapters: Literal["shared", "per-dataset"] = "shared"


class AdaptFormer(Section):
    """An adapter beside every MLP (AdaptFormer)."""

    kind: Literal["adaptformer"]
    width: Positive = 64
    scale: PositiveReal = 0.1
    dropout: Decay = 0.1
    batch_norm: bool = True  # of features, before the heads
    adapters: Literal["shared", "per-dataset"] = "shared"
