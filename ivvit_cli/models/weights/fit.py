"""Fit imported tensors to a model: what has its place, what is resampled, what is missing."""

import difflib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote

from timm.layers import resample_abs_pos_embed, resample_patch_embed
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from ivvit_cli.errors import InputError, UsageError
from ivvit_cli.models.encoder import Encoder
from ivvit_cli.models.heads import head_key
from ivvit_cli.models.joint import JointModel
from ivvit_cli.models.temporal.timesformer import nearest_frames

MIN_SHARE = 0.9  # of the encoder's tensors; a source that gives fewer is another backbone's


@dataclass
class Fit:
    """What a source gives an encoder.

    Attributes:
        tensors: what to load, by the model's names.
        loaded: the names of those that were taken as they were.
        resized: the names of those that were resampled.
        derived: the names of those that `Encoder.derive` made of the others.
        missing: the encoder's other names.
        shapes: "theirs -> ours", of every name that the source has in another shape.
    """

    tensors: dict[str, Tensor] = field(default_factory=dict)
    loaded: list[str] = field(default_factory=list)
    resized: list[str] = field(default_factory=list)
    derived: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    shapes: dict[str, str] = field(default_factory=dict)


def fit_encoder(state: Mapping[str, Tensor], encoder: Encoder, source: str) -> Fit:
    """Find each of the encoder's tensors in an imported state dict, by name and shape.

    Raises:
        InputError: fewer than MIN_SHARE of them are there, or the number of blocks differs.
    """
    fit = Fit()
    names = encoder.state_dict(prefix="encoder.")
    for name, own in names.items():
        given, found = state.get(name), fit.loaded
        if given is not None and given.shape != own.shape:
            fit.shapes[name] = f"{_shape(given)} -> {_shape(own)}"
            given, found = _resize(name, given, own, encoder.vit), fit.resized
        if given is None:
            fit.missing.append(name)
        else:
            found.append(name)
            fit.tensors[name] = given
    _derive(fit, state, encoder)
    if len(fit.tensors) < MIN_SHARE * len(names):
        raise _poor(fit, state, source)
    _check_blocks(fit, state, source)
    return fit


def _derive(fit: Fit, state: Mapping[str, Tensor], encoder: Encoder) -> None:
    """Fill in what the source has not, from what was taken of it."""
    absent = set(fit.missing) - state.keys()
    usable = {name: value for name, value in state.items() if name not in fit.missing}
    made = encoder.derive(usable | fit.tensors)
    fit.derived = [name for name in made if name in absent]
    fit.tensors |= {name: made[name] for name in fit.derived}
    fit.missing = [name for name in fit.missing if name not in fit.derived]


def find_classifier(
    state: Mapping[str, Tensor], model: JointModel, head: str, source: str
) -> dict[str, str]:
    """Return which of the source's tensors goes into which of a head's: names to source's names.

    The classifier is the source's head of the same name, else the only one it has.

    Raises:
        UsageError: the source has no such classifier, or it is of another shape.
    """
    target = f"heads.{head_key(head)}."
    found = {match[0] for key in state if (match := re.match(r"head\.|heads\.[^.]+\.", key))}
    if target not in found and len(found) != 1:
        raise UsageError(
            f"{source}: has no classifier for head {head}", hint=_listing(found) or "it has none"
        )
    prefix = target if target in found else found.pop()
    names: dict[str, str] = {}
    for name, own in model.state_dict().items():
        if name.startswith(target):
            names[name] = key = prefix + name.removeprefix(target)
            theirs = _shape(state[key]) if key in state else "absent"
            if theirs != _shape(own):
                raise UsageError(
                    f"{source}: its classifier does not fit head {head}: "
                    f"{key} is {theirs}, {_shape(own)} is needed"
                )
    return names


def _listing(prefixes: set[str]) -> str:
    names = sorted(unquote(prefix.removeprefix("heads.")[:-1]) for prefix in prefixes)
    return f"it has {', '.join(names)}" if names else ""


def _resize(name: str, given: Tensor, own: Tensor, vit: VisionTransformer) -> Tensor | None:
    """Resample an embedding of place, patch or time; None where that cannot give `own`'s shape."""
    if given.ndim != own.ndim or given.numel() == 0:
        return None
    resized = None
    if name.endswith(".patch_embed.proj.weight") and given.shape[:2] == own.shape[:2]:
        resized = resample_patch_embed(given, list(own.shape[2:]))
    if name.endswith(".pos_embed") and given.shape[::2] == own.shape[::2]:
        prefix = 0 if vit.no_embed_class else vit.num_prefix_tokens
        side = math.isqrt(max(given.shape[1] - prefix, 0))
        if side > 0 and side**2 + prefix == given.shape[1]:
            grid = list(vit.patch_embed.grid_size)
            resized = resample_abs_pos_embed(given, grid, [side, side], num_prefix_tokens=prefix)
    if name == "encoder.time_embed" and given.shape[::2] == own.shape[::2]:
        resized = nearest_frames(given, own.shape[1])
    return resized


def _check_blocks(fit: Fit, state: Mapping[str, Tensor], source: str) -> None:
    """Refuse what MIN_SHARE lets pass in a deep model: a block left random, or one left over."""
    ours = _blocks([*fit.tensors, *fit.missing])
    theirs = _blocks(state)
    if theirs - ours:
        raise InputError(
            f"{source}: has {len(theirs)} blocks, but the model has {len(ours)}",
            hint=f"set model.backbone_args.depth={len(theirs)}",
        )
    if absent := ours - _blocks(fit.tensors):
        raise InputError(
            f"{source}: gives nothing to {len(absent)} of the model's {len(ours)} blocks",
            hint=f"is it of the same backbone and depth? it has {len(theirs)} blocks",
        )


def _blocks(names: Iterable[str]) -> set[str]:
    matches = (re.match(r"encoder\.vit\.blocks\.(\d+)\.", name) for name in names)
    return {match[1] for match in matches if match}


def _poor(fit: Fit, state: Mapping[str, Tensor], source: str) -> InputError:
    total = len(fit.tensors) + len(fit.missing)
    name = fit.missing[0]
    if name in fit.shapes:
        example = f"{name} is {fit.shapes[name].replace(' -> ', ' there and ')} in the model"
        hint = "is it of the same backbone and size?"
    else:
        example = f"it lacks {name}"
        near = difflib.get_close_matches(name, state, n=3, cutoff=0)
        hint = f"the nearest of its names: {', '.join(near)}"
    return InputError(
        f"{source}: fits only {len(fit.tensors)} of {total} encoder tensors: {example}", hint=hint
    )


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"
