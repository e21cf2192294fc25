"""Fit imported tensors to a model: what has its place, what is resampled, what is missing."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from ivvit_cli.models.encoder import Encoder
from ivvit_cli.models.weights.resize import find_side, resize

TUBELET_PLACES = "encoder.tubelet_pos"


@dataclass
class Fit:
    """What a source gives an encoder.

    Attributes:
        tensors: what to load, by the model's names.
        loaded: the names of those that were taken as they were.
        resized: the names of those that were resampled.
        derived: the names of those that `Encoder.derive` made of the others, or a formula gave.
        missing: the encoder's other names.
        shapes: "theirs -> ours", of every name that the source has in another shape.
    """

    tensors: dict[str, Tensor] = field(default_factory=dict)
    loaded: list[str] = field(default_factory=list)
    resized: list[str] = field(default_factory=list)
    derived: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    shapes: dict[str, str] = field(default_factory=dict)


def fit_encoder(
    state: Mapping[str, Tensor],
    encoder: Encoder,
    places: Callable[[int, int], Tensor] | None = None,
    side: int | None = None,
) -> Fit:
    """Find each of the encoder's tensors in an imported state dict, by name and shape.

    Args:
        places: the formula of tubelets' embeddings of place, where the source does not store them
            (`importers.naming.Importer`).
        side: of the source's square grid of patches, where its config says so.
    """
    fit, side = Fit(), side or find_side(state, encoder)
    for name, own in encoder.state_dict(prefix="encoder.").items():
        given, found = state.get(name), fit.loaded
        if given is not None and given.shape != own.shape:
            fit.shapes[name] = f"{show_shape(given)} -> {show_shape(own)}"
            given, found = resize(name, given, own, encoder, side), fit.resized
        if given is None:
            fit.missing.append(name)
        else:
            found.append(name)
            fit.tensors[name] = given
    made = {} if places is None else _place_tubelets(fit, encoder, places)
    _derive(fit, state, encoder, made)
    return fit


def _place_tubelets(
    fit: Fit, encoder: Encoder, places: Callable[[int, int], Tensor]
) -> dict[str, Tensor]:
    own = encoder.state_dict(prefix="encoder.").get(TUBELET_PLACES)
    if own is None or TUBELET_PLACES not in fit.missing:
        return {}
    return {TUBELET_PLACES: places(*own.shape[1:])}


def _derive(
    fit: Fit, state: Mapping[str, Tensor], encoder: Encoder, placed: Mapping[str, Tensor]
) -> None:
    """Fill in what the source has not, from what was taken of it."""
    absent = set(fit.missing) - state.keys()
    usable = {name: value for name, value in state.items() if name not in fit.missing}
    made = {**encoder.derive(usable | fit.tensors), **placed}
    fit.derived = [name for name in made if name in absent]
    fit.tensors |= {name: made[name] for name in fit.derived}
    fit.missing = [name for name in fit.missing if name not in fit.derived]


def show_shape(tensor: Tensor) -> str:
    """Return a shape as text, as in 1x197x768."""
    return "x".join(map(str, tensor.shape)) or "scalar"
