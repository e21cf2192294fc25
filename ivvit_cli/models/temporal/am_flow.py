"""AM Flow: how much each token's part in the attention maps changes from a frame to the next.

Agrawal et al., AM Flow: Adapters for Temporal Processing in Action Recognition, arXiv 2411.02065,
Eq. 2-5; Are Attention Maps Richer than we Imagined for Action Recognition?, AVSS 2025. There is no
released code; what the equations leave open is an option of `FlowOptions`.

A map is an N x N matrix per head and frame. Only those of two frames are in memory at a time, in
the forward pass and, where they are computed again, in the backward pass.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_type_hints

import torch
import torch.nn.functional as F
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ivvit_cli.errors import UsageError
from ivvit_cli.models.temporal.align import AligningEncoder

Channels = Literal["head", "mean", "width"]

_ROUNDING = 1e-5  # of what a token receives; a change of all tokens below it is none


@dataclass(frozen=True)
class FlowOptions:
    """Which AM Flow.

    Attributes:
        kind: `vanilla`, for a camera that stands (Eq. 3), or `aligned`, for one that moves (Eq. 4
            and 5).
        channels: of the flow of a token. `head`: one per head. `width`: D, a head's value in each
            of its D / heads channels, as with ones of V's shape. `mean`: one; vanilla flow then is
            that of the heads' mean map (N x N, as the paper writes it), aligned flow the mean.
        tokens: whose maps. `all`, class tokens too, as the backbone attends; or among `patches`
            alone, where class tokens have the value of no motion.
        softmax: over `keys`, then summed over queries, or over `queries`, then over keys. (The
            paper: "along different dimensions". Along the same, the result would be constant.)
        last: the flow of the last frame, which has none after it: `repeat` the one before, which is
            the flow to its predecessor; or `still`, the value of no motion.
        detach: let no gradient flow through it into the tokens.
    """

    kind: Literal["vanilla", "aligned"]
    channels: Channels
    tokens: Literal["all", "patches"] = "all"
    softmax: Literal["keys", "queries"] = "keys"
    last: Literal["repeat", "still"] = "repeat"
    detach: bool = False

    def __post_init__(self) -> None:
        for name, annotation in get_type_hints(FlowOptions).items():
            allowed, given = get_args(annotation), getattr(self, name)
            if allowed and given not in allowed:
                raise UsageError(f"flow: {name} is {' or '.join(allowed)}, not {given}")

    @property
    def still(self) -> float:
        """The flow where nothing moves: a softmax of zeros, N times; or a difference of equals."""
        return 1.0 if self.kind == "vanilla" else 0.0


class AmFlow(nn.Module):
    """The AM Flow of one block.

    Args:
        width: D, the backbone's.
        heads: of the backbone's attention.
        prefix: how many tokens come before the patches.
        align: the aligning encoder of `aligned` flow; on tokens of width D.

    Attributes:
        channels: C of what `forward` returns.
    """

    def __init__(
        self,
        options: FlowOptions,
        *,
        width: int,
        heads: int,
        prefix: int,
        align: AligningEncoder | None = None,
    ) -> None:
        super().__init__()
        self.options, self.prefix, self.align = options, prefix, align
        self.heads, self.width = heads, width
        self.channels = {"head": heads, "mean": 1, "width": width}[options.channels]

    def forward(self, q: Tensor, k: Tensor, frames: int | None, scale: float) -> Tensor:
        """Return the flow (B*T, N, C), at least float32, of every frame to the next.

        Args:
            q, k: a block's queries and keys, (B*T, heads, N, D / heads).
            frames: T; an image (None) has the value of no motion.
            scale: of the attention, 1 / sqrt(D / heads).
        """
        size, _, tokens, _ = q.shape
        if frames is None:
            kind = torch.promote_types(q.dtype, torch.float32)
            shape = (size, tokens, self.channels)
            return torch.full(shape, self.options.still, dtype=kind, device=q.device)
        flow = self._of_pairs(*self._chosen(q, k), frames, scale)  # (B, T - 1, N, C)
        if self.options.last == "repeat":
            flow = torch.cat((flow, flow[:, -1:]), dim=1)
        else:
            flow = F.pad(flow, (0, 0, 0, 0, 0, 1), value=self.options.still)
        missing = tokens - flow.shape[2]
        return F.pad(flow, (0, 0, missing, 0), value=self.options.still).flatten(0, 1)

    def _chosen(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """Return the queries and keys whose maps count, in the roles that they have."""
        first = self.prefix if self.options.tokens == "patches" else 0
        q, k = q[:, :, first:], k[:, :, first:]
        if self.options.detach:
            q, k = q.detach(), k.detach()
        return (q, k) if self.options.softmax == "keys" else (k, q)

    def _of_pairs(self, q: Tensor, k: Tensor, frames: int, scale: float) -> Tensor:
        """Return the flow (B, T - 1, N, C) of each frame but the last."""
        if self.options.channels == "mean" and self.align is None:
            q, k, scale = _side_by_side(q), _side_by_side(k), scale / self.heads
        if self.align is None:
            flow = change_of_maps(q, k, frames, scale).mT  # (B, T - 1, N, heads)
            return self._spread(flow) if self.options.channels == "width" else flow
        received = self._spread(received_attention(q, k, frames, scale).mT)  # (B, T, N, D)
        aligned = self.align(received.flatten(0, 1)).view(received.shape)
        flow = (aligned[:, :-1] - aligned[:, 1:]).abs()  # Eq. 5
        flow = flow.masked_fill(_still(received), 0)
        groups: Tensor = flow.view(*flow.shape[:-1], self.channels, -1)
        return groups.mean(-1)

    def _spread(self, x: Tensor) -> Tensor:
        """Give each head's value (..., heads) to all channels of the head, (..., D)."""
        return x.repeat_interleave(self.width // self.heads, dim=-1)


def make_flow(
    vit: VisionTransformer,
    number: int,
    kind: Literal["aligned", "vanilla", "none"],
    *,
    heads: int | None = None,
    hidden: int = 1024,
    channels: Channels | None = None,
    **options: Any,
) -> AmFlow | None:
    """Make the AM Flow of one block of a ViT; None for the kind `none`.

    Args:
        number: of the block, from 0.
        heads: of the aligning encoder; the backbone's number unless given (ViT-B: 12, the paper's).
        hidden: of the aligning encoder's feed-forward branch.
        channels: see `FlowOptions`; `width` for aligned flow, `head` for vanilla, unless given.
        options: the others of `FlowOptions`.

    Raises:
        UsageError: the options make no sense.
    """
    if kind == "none":
        return None
    channels = channels or ("width" if kind == "aligned" else "head")
    try:
        chosen = FlowOptions(kind, channels, **options)
    except TypeError as error:
        raise UsageError(f"flow {kind}: {error}") from None
    attn = vit.blocks[number].attn
    width, own = attn.proj.out_features, attn.num_heads
    if width % (heads or own):
        raise UsageError(f"flow: heads must divide the width {width}, not {heads}")
    align = AligningEncoder(width, heads or own, hidden) if kind == "aligned" else None
    return AmFlow(chosen, width=width, heads=own, prefix=vit.num_prefix_tokens, align=align)


def change_of_maps(q: Tensor, k: Tensor, frames: int, scale: float) -> Tensor:
    """Return Eq. 3, softmax(|X_t - X_(t+1)|)^T 1, of each frame and the next.

    Args:
        q, k: (B*T, heads, N, D / heads), of which the maps are X_t = scale Q_t K_t^T (Eq. 2).

    Returns:
        (B, T - 1, heads, N), at least float32. It sums to N over the tokens.
    """
    of_q, of_k = _frames(q, frames), _frames(k, frames)
    pairs = [
        _light(_change, of_q[t], of_k[t], of_q[t + 1], of_k[t + 1], scale)
        for t in range(frames - 1)
    ]
    return torch.stack(pairs, dim=1)


def received_attention(q: Tensor, k: Tensor, frames: int, scale: float) -> Tensor:
    """Return the argument of Eq. 4, softmax(X_t)^T 1, of each frame: (B, T, heads, N)."""
    of_q, of_k = _frames(q, frames), _frames(k, frames)
    each = [_light(_received, q, k, scale) for q, k in zip(of_q, of_k, strict=True)]
    return torch.stack(each, dim=1)


def _still(received: Tensor) -> Tensor:
    """Tell of each frame but the last of (B, T, N, D) if the next is the same, (B, T - 1, 1, 1).

    Up to rounding, that is: equal frames are rounded apart by their places in a matrix product.
    """
    change = (received[:, :-1] - received[:, 1:]).abs()
    return (change <= _ROUNDING * received[:, 1:]).all(-1).all(-1)[..., None, None]


def _change(q: Tensor, k: Tensor, next_q: Tensor, next_k: Tensor, scale: float) -> Tensor:
    change = (_map(q, k, scale) - _map(next_q, next_k, scale)).abs()
    return change.softmax(-1).sum(-2)


def _received(q: Tensor, k: Tensor, scale: float) -> Tensor:
    return _map(q, k, scale).softmax(-1).sum(-2)


def _map(q: Tensor, k: Tensor, scale: float) -> Tensor:
    """Return Eq. 2, (B, heads, N, N): in float32, as the difference of two is what matters."""
    kind = torch.promote_types(q.dtype, torch.float32)
    with torch.autocast(q.device.type, enabled=False):
        return q.to(kind) @ k.to(kind).mT * scale


def _frames(x: Tensor, frames: int) -> tuple[Tensor, ...]:
    """Return (B, heads, N, D / heads) of each frame, as views."""
    return x.view(-1, frames, *x.shape[1:]).unbind(1)


def _light(function: Callable[..., Tensor], *args: Tensor | float) -> Tensor:
    """Call a function that uses no random numbers; compute its inner values again when needed."""
    out: Tensor = checkpoint(function, *args, use_reentrant=False, preserve_rng_state=False)
    return out


def _side_by_side(x: Tensor) -> Tensor:
    """Join heads (B*T, heads, N, D / heads) into one, whose map is the sum of theirs."""
    return x.transpose(1, 2).flatten(2).unsqueeze(1)
