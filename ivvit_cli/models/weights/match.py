"""What makes a source a poor match for a model: refused, with what would fit."""

import difflib
import re
from collections.abc import Iterable, Mapping

from torch import Tensor

from ivvit_cli.errors import InputError
from ivvit_cli.models.weights.fit import TUBELET_PLACES, Fit

MIN_SHARE = 0.9  # of the encoder's tensors; a source that gives fewer is another backbone's

_KERNEL, _TUBELETS = "encoder.vit.patch_embed.proj.weight", "encoder.tubelet_embed.weight"
_OF_SIZE = "is it of the same backbone and size?"
# What may be wrong with embeddings of clips that are there, and yet do not fit.
_CLIPS = {
    _TUBELETS: "model.temporal.depth is the frames of a tubelet",
    TUBELET_PLACES: "Hugging Face's config.json beside the file tells its moments from its places",
}
# Without one of these the model is blind, however few tensors they are; a clip's own may stand in.
_VITAL = {
    _KERNEL: _TUBELETS,
    "encoder.vit.cls_token": "",
    "encoder.vit.dist_token": "",
    "encoder.vit.reg_token": "",
    "encoder.vit.pos_embed": TUBELET_PLACES,
}
_WITHOUT_CLASS_TOKEN = "model.backbone_args={class_token: false, global_pool: avg}"
# What a source computes with: where the model would leave it out, all is loaded and yet another.
_TOKENS = re.compile(r"encoder\.vit\.(?:reg|dist)_token$")
_COMPUTING = re.compile(r"encoder\.vit\.(?:norm_pre\.|blocks\.\d+\.(?!temporal_))")
# What may not stay random: a layer, or an embedding that the source has in another shape.
_LAYERS = re.compile(r"encoder\.vit\.(?:norm_pre|blocks\.\d+)\.")
_OF_CLIPS = re.compile(r"encoder\.(?:tubelet_|clip_stem\.)")


def check_match(fit: Fit, state: Mapping[str, Tensor], source: str) -> None:
    """Refuse a source that leaves a part of the model as it was, or of which a part is left over.

    Raises:
        InputError: less than MIN_SHARE of the encoder's tensors are there, a part without which
            it is blind is not, or the blocks differ. The message names the nearest keys.
    """
    share = len(fit.tensors) / (len(fit.tensors) + len(fit.missing))
    if share > 0.5:  # of this architecture, so that a part itself is worth a message
        _check_parts(fit, state, source)
    if share < MIN_SHARE:
        raise _poor(fit, state, source)
    _check_blocks(fit, state, source)
    _refuse_rest(_COMPUTING, fit, state, source)
    _refuse_random(fit, state, source)


def _check_parts(fit: Fit, state: Mapping[str, Tensor], source: str) -> None:
    _refuse_rest(_TOKENS, fit, state, source)
    for name, instead in _VITAL.items():
        if name in fit.missing and instead not in fit.tensors:
            raise _blind(name, fit, state, source)


def _refuse_rest(what: re.Pattern[str], fit: Fit, state: Iterable[str], source: str) -> None:
    for name in state:
        if what.match(name) and name not in fit.tensors and name not in fit.shapes:
            raise InputError(
                f"{source}: the model has no place for {name}",
                hint="choose the backbone of these weights; ivvit model ls shows all",
            )


def _refuse_random(fit: Fit, state: Mapping[str, Tensor], source: str) -> None:
    """Refuse what MIN_SHARE lets pass as well: a layer or an embedding of clips left random."""
    for name in fit.missing:
        if _LAYERS.match(name):
            raise _blind(name, fit, state, source)
        if _OF_CLIPS.match(name) and name in fit.shapes:
            hint = _CLIPS.get(name, _OF_SIZE)
            raise InputError(f"{source}: {_mismatch(name, fit)}", hint=hint)


def _blind(name: str, fit: Fit, state: Mapping[str, Tensor], source: str) -> InputError:
    if name in fit.shapes:
        return InputError(f"{source}: {_mismatch(name, fit)}", hint=_OF_SIZE)
    if (instead := _VITAL.get(name, "")) in fit.missing and instead in fit.shapes:
        fault, hint = _mismatch(instead, fit), _CLIPS[instead]
    elif _TUBELETS in state and _TUBELETS not in fit.shapes and name == _KERNEL:
        fault, hint = "embeds clips in tubelets", "model.temporal.kind=tubelet does so too"
    elif name == "encoder.vit.cls_token":
        fault, hint = "has no class token", f"{_WITHOUT_CLASS_TOKEN} does without, too"
    else:
        fault, hint = f"lacks {name}", _nearest(name, state)
    return InputError(f"{source}: {fault}", hint=hint)


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
        example, hint = _mismatch(name, fit), _OF_SIZE
    else:
        example, hint = f"it lacks {name}", _nearest(name, state)
    return InputError(
        f"{source}: fits only {len(fit.tensors)} of {total} encoder tensors: {example}", hint=hint
    )


def _mismatch(name: str, fit: Fit) -> str:
    return f"{name} is {fit.shapes[name].replace(' -> ', ' there and ')} in the model"


def _nearest(name: str, state: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, state, n=3, cutoff=0)
    return f"the nearest of its names: {', '.join(near)}"
