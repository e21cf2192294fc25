"""Temporal processing units: from an adapter's embeddings of the frames to one feature.

AM Flow, arXiv 2411.02065, Figure 2 ("TPU"): an LSTM, a temporal convolutional network (Bai et al.,
2018) or a transformer encoder. Their sizes are not printed; `docs/recipes.md` has those that give
the printed parameter counts.
"""

import difflib
import inspect
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from ivvit_cli.errors import UsageError
from ivvit_cli.models.temporal.align import PostNormLayer


class Unit(nn.Module):
    """Maps sequences (S, T, R) to features (S, D).

    Attributes:
        out: D.
    """

    out: int


class Mean(Unit):
    """The mean over time: no processing at all."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.out = width

    def forward(self, x: Tensor) -> Tensor:
        """Map (S, T, R) to (S, R)."""
        return x.mean(1)


class Lstm(Unit):
    """The last state of an LSTM.

    Args:
        hidden: of its states; the width of its input unless given.
    """

    def __init__(self, width: int, *, hidden: int | None = None, layers: int = 1) -> None:
        super().__init__()
        self.out = hidden or width
        self.lstm = nn.LSTM(width, self.out, layers, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map (S, T, R) to (S, hidden)."""
        states: Tensor = self.lstm(x)[0]
        return states[:, -1]


class Tcn(Unit):
    """The mean over time of a temporal convolutional network's output.

    Args:
        layers: residual blocks of two causal convolutions, each dilated twice as far.
        kernel: frames that a convolution sees.
    """

    def __init__(
        self, width: int, *, layers: int = 1, kernel: int = 2, dropout: float = 0.2
    ) -> None:
        super().__init__()
        self.out = width
        self.blocks = nn.Sequential(
            *(_CausalBlock(width, kernel, 2**i, dropout) for i in range(layers))
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (S, T, R) to (S, R)."""
        out: Tensor = self.blocks(x.mT).mean(-1)
        return out


class _CausalBlock(nn.Module):
    def __init__(self, width: int, kernel: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.before = (kernel - 1) * dilation  # frames of padding
        self.conv1, self.conv2 = (
            weight_norm(nn.Conv1d(width, width, kernel, dilation=dilation)) for _ in range(2)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        out = self.dropout(F.relu(self.conv1(F.pad(x, (self.before, 0)))))
        out = self.dropout(F.relu(self.conv2(F.pad(out, (self.before, 0)))))
        return F.relu(x + out)


class Transformer(Unit):
    """The mean over time of a transformer encoder's output.

    Sines and cosines tell it the place in time: without, its mean would be blind to the order.

    Args:
        hidden: the width of its feed-forward branches.
    """

    def __init__(
        self,
        width: int,
        *,
        heads: int = 8,
        hidden: int = 1024,
        layers: int = 1,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if heads < 1 or width % heads or width % 2:
            raise UsageError(f"unit transformer: heads must divide the width {width}, not {heads}")
        self.out = width
        self.layers = nn.Sequential(
            *(
                PostNormLayer(width, heads, hidden, linear=False, dropout=dropout)
                for _ in range(layers)
            )
        )
        self.norm, self.proj = nn.LayerNorm(width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (S, T, R) to (S, R)."""
        x = x + sinusoids(x.shape[1], x.shape[2], x.device).to(x.dtype)
        out: Tensor = self.proj(self.norm(self.layers(x)).mean(1))
        return out


def sinusoids(length: int, width: int, device: torch.device | None = None) -> Tensor:
    """Return embeddings of place (length, width), as in Vaswani et al. (2017), section 3.5."""
    place = torch.arange(length, device=device, dtype=torch.float32)[:, None]
    steps = torch.arange(0, width, 2, device=device, dtype=torch.float32)
    angle = place * torch.exp(-math.log(10_000) / width * steps)
    return torch.stack((angle.sin(), angle.cos()), dim=-1).flatten(1)


UNITS: dict[str, type[Unit]] = {
    "lstm": Lstm,
    "tcn": Tcn,
    "transformer": Transformer,
    "mean": Mean,
}


class TemporalUnit(nn.Module):
    """A unit, on what the tokens have in common or on every token for itself.

    Args:
        width: R, of the adapter's embeddings.
        kind: one of `UNITS`.
        tokens: `mean`: the sequence is the mean over the tokens; `all`: a sequence per token, and
            the mean over the tokens of what becomes of them.
        options: of the unit's kind.

    Raises:
        UsageError: there is no such kind, or it has no such option.
    """

    def __init__(self, width: int, kind: str, tokens: str = "mean", **options: Any) -> None:
        super().__init__()
        if kind not in UNITS:
            close = difflib.get_close_matches(kind, UNITS, n=1)
            hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(UNITS)}"
            raise UsageError(f"unit: unknown kind {kind}", hint=hint)
        if tokens not in ("mean", "all"):
            raise UsageError(f"unit: tokens is mean or all, not {tokens}")
        try:
            inspect.signature(UNITS[kind]).bind(width, **options)
        except TypeError as error:
            raise UsageError(f"unit {kind}: {error}") from None
        self.tokens = tokens
        self.unit = UNITS[kind](width, **options)
        self.out = self.unit.out

    def forward(self, x: Tensor, frames: int | None) -> Tensor:
        """Map embeddings (B*T, N, R) of clips, or of images (`frames` is None), to (B, out)."""
        length = frames or 1
        if self.tokens == "mean":
            pooled: Tensor = self.unit(x.mean(1).view(-1, length, x.shape[2]))
            return pooled
        each = x.view(-1, length, *x.shape[1:]).transpose(1, 2)  # (B, N, T, R)
        out: Tensor = self.unit(each.flatten(0, 1))  # (B*N, out)
        return out.view(each.shape[0], -1, self.out).mean(1)
