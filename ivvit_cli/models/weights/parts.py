"""Parts of a model from other sources than the rest (PolyViT of IV-ViT 5.4 has three)."""

from collections.abc import Mapping
from dataclasses import replace
from fnmatch import fnmatchcase

from torch import Tensor

from ivvit_cli.errors import InputError
from ivvit_cli.models.joint import JointModel
from ivvit_cli.models.weights.load import match_weights
from ivvit_cli.models.weights.source import read_source


def load_parts(model: JointModel, parts: Mapping[str, str]) -> list[str]:
    """Load parameters from sources of their own, after all others; return what was done.

    A source has to fit the model as `load_weights` asks, but may have been trained with another
    activation, norm or the like: that is a matter of the layers which it does not give.

    Args:
        parts: from names of parameters, in which `*` stands for anything, to sources as
            `load_weights` takes them.

    Raises:
        InputError: a source has nothing for its part, or as `load_weights`.
        UsageError, EnvironmentFault: as `load_weights`.
    """
    lines = []
    for part, source in parts.items():
        chosen, line = match_part(model, part, source)
        model.load_state_dict(chosen, strict=False)
        lines.append(f"{part}: {line}")
    return lines


def match_part(model: JointModel, part: str, source: str) -> tuple[dict[str, Tensor], str]:
    """Return what a source would load into a part, and a line of it; the model keeps its values.

    Raises:
        InputError, UsageError, EnvironmentFault: as `load_parts`.
    """
    given = replace(read_source(source), config={})
    match = match_weights(model, given, source, head=None, classes={})
    chosen = {n: tensor for n, tensor in match.tensors.items() if fnmatchcase(n, part)}
    if not chosen:
        example = next(iter(match.tensors))
        raise InputError(f"{source}: gives nothing named {part}", hint=f"it gives {example}")
    counted = f"{len(chosen)} tensor{'s' if len(chosen) > 1 else ''}"
    return chosen, f"{counted} of {source} ({match.report.format})"
