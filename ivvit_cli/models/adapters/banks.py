"""Which adapters: how large, where, and who makes their weights."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

from ivvit_cli.errors import UsageError
from ivvit_cli.models.adapters.adapt import AdapterBank, Placement, Shape
from ivvit_cli.models.adapters.bottleneck import PlainAdapters
from ivvit_cli.models.adapters.compacter import CompacterAdapters
from ivvit_cli.models.adapters.hyperformer import HyperformerAdapters

BANKS: dict[str, Callable[..., AdapterBank]] = {
    "plain": PlainAdapters,
    "hyperformer": HyperformerAdapters,
    "compacter": CompacterAdapters,
}


@dataclass(frozen=True)
class AdapterSpec:
    """What a recipe says about adapters.

    Attributes:
        kind: one of `BANKS`.
        hidden: the width of the bottleneck, E's.
        placement: beside a branch, or after it.
        options: of the kind.
    """

    kind: str
    hidden: int
    placement: Placement
    options: dict[str, Any] = field(default_factory=dict)


def adapter_spec(
    kind: str, *, width: int = 128, placement: Placement = "parallel", **options: Any
) -> AdapterSpec:
    """Check what is said about adapters.

    Args:
        kind: `plain`, `hyperformer` or `compacter`.
        width: of the bottleneck.
        placement: `parallel` or `serial`.
        options: `embedding` of a hyperformer; `terms` of a compacter.

    Raises:
        UsageError: there is no such kind, placement or option.
    """
    if kind not in BANKS:
        raise UsageError(f"adapter: kind is {', '.join(BANKS)}, not {kind}")
    if placement not in get_args(Placement):
        raise UsageError(f"adapter: placement is parallel or serial, not {placement}")
    try:
        inspect.signature(BANKS[kind]).bind(blocks=[], datasets=[], **options)
    except TypeError as error:
        raise UsageError(f"adapter {kind}: {error}") from None
    return AdapterSpec(kind, width, placement, options)


def make_bank(
    spec: AdapterSpec, widths: Sequence[int], flows: Sequence[int], datasets: Sequence[str]
) -> AdapterBank:
    """Make the adapters of all blocks of a ViT.

    Args:
        widths: D of each block's tokens.
        flows: C of what the adapter across each block's attention is fed with; 0 for nothing.
        datasets: who shares them.

    Raises:
        UsageError: the options do not fit the widths.
    """
    blocks = [
        {"attn": Shape(width, spec.hidden, flow), "mlp": Shape(width, spec.hidden, 0)}
        for width, flow in zip(widths, flows, strict=True)
    ]
    return BANKS[spec.kind](blocks=blocks, datasets=datasets, **spec.options)
