"""Which parameters are trained, and what becomes of the modules that are not."""

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from torch import nn

from ivvit_cli.errors import UsageError

BACKBONE = "encoder.vit."  # the parameters of timm's model, in those of a `JointModel`


def is_backbone(name: str) -> bool:
    """Tell whether a parameter, named as in `JointModel`, is the backbone's own.

    What adapters add lies beside it; kinds that change the blocks themselves (`divided`) have
    their parameters among the backbone's.
    """
    return name.startswith(BACKBONE)


def freeze(model: nn.Module, patterns: Sequence[str]) -> None:
    """Take parameters out of training, by their names.

    Args:
        patterns: `backbone`, or names in which `*` stands for anything, such as
            `encoder.vit.blocks.?.*`.

    Raises:
        UsageError: a pattern fits no parameter, or all of them are frozen.
    """
    for pattern in patterns:
        names = f"{BACKBONE}*" if pattern == "backbone" else pattern
        found = [p for name, p in model.named_parameters() if fnmatchcase(name, names)]
        if not found:
            example = next(name for name, _ in model.named_parameters())
            raise UsageError(f"freeze: no parameter is named {pattern}", hint=f"one is {example}")
        for parameter in found:
            parameter.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise UsageError(f"freeze: {', '.join(patterns)} leaves nothing to train")


def frozen_modules(model: nn.Module) -> Iterable[nn.Module]:
    """Yield the modules all of whose parameters are frozen, without those inside them."""
    parameters = [*model.parameters()]
    if parameters and not any(parameter.requires_grad for parameter in parameters):
        yield model
        return
    for child in model.children():
        yield from frozen_modules(child)
