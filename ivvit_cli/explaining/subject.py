"""Whose eyes a file is seen with: a trained run, or the model of a recipe."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from ivvit_cli.errors import InputError, UsageError
from ivvit_cli.evaluation.protocol import clip_arguments
from ivvit_cli.evaluation.targets import choose_heads
from ivvit_cli.explaining.pictures import Pixels
from ivvit_cli.models import InputSpec, JointModel, build_model, load_weights
from ivvit_cli.models.weights import load_parts
from ivvit_cli.prediction.files import find_media
from ivvit_cli.prediction.heads import DEFAULTS, Head, Reading, make_heads
from ivvit_cli.prediction.media import view_file
from ivvit_cli.runs import find_checkpoint, load_model
from shards.manifest import Kind
from shards.stream.views import Views


@dataclass(frozen=True)
class Subject:
    """A model, what it is fed, the head whose clips it takes, and whether it was trained."""

    model: JointModel
    input: InputSpec
    head: Head
    device: torch.device
    trained: bool


def subject_of_run(
    reference: str, head: str | None, device: torch.device, backbone: str | None
) -> Subject:
    """Return a run's model.

    Raises:
        InputError, EnvironmentFault: as `find_checkpoint` and `load_model`.
        UsageError: it has no such head.
    """
    model, meta = load_model(find_checkpoint(reference), device, backbone)
    heads = make_heads({name: entry.model_dump() for name, entry in meta.heads.items()})
    spec = InputSpec(meta.input.size, meta.input.mean, meta.input.std)
    return Subject(model, spec, _choose(heads, head, "the checkpoint"), device, trained=True)


def subject_of_recipe(
    recipe: str, overrides: Sequence[str], head: str | None, device: torch.device
) -> Subject:
    """Return a recipe's model with its weights, before any training.

    Raises:
        RecipeError, UsageError: the recipe, or its model, makes no sense; it has no such head.
        InputError, EnvironmentFault: as `load_weights`.
    """
    from ivvit_cli.config import load_recipe
    from ivvit_cli.training.job import job_of
    from ivvit_cli.training.prepared import input_of

    job = job_of(load_recipe(recipe, list(overrides)))
    torch.manual_seed(job.train["seed"])
    model = build_model(job.model, dict.fromkeys(job.data, 1))
    if source := job.model["weights"]:
        load_weights(model, source)
    load_parts(model, job.parts)
    heads = []
    for name, spec in job.data.items():
        kind: Kind = "video" if spec.clip else "image"
        own = replace(DEFAULTS["video"], **clip_arguments(spec.clip)) if spec.clip else Reading()
        heads.append(Head(name, kind, [""], {**DEFAULTS, kind: own}))
    chosen = _choose(heads, head, "the recipe")
    return Subject(model.to(device).eval(), input_of(job, model), chosen, device, trained=False)


def _choose(heads: Sequence[Head], wanted: str | None, owner: str) -> Head:
    """Return the head that is asked for, else the first one of videos, else the first."""
    by_name = {head.name: head for head in heads}
    if wanted is not None:
        return by_name[choose_heads(list(by_name), [wanted], "--head", owner)[0]]
    return next((head for head in heads if head.kind == "video"), heads[0])


def look(subject: Subject, path: Path, frames: int | None) -> tuple[Tensor, Pixels]:
    """Read a file as its head reads such, one clip and one crop.

    Args:
        frames: of the clip, if not as many as the head takes.

    Returns:
        what the model is fed, (1, 3, S, S) or (1, T, 3, S, S), and the same as pictures,
        uint8 (T, S, S, 3).

    Raises:
        InputError: it is no image or video, or cannot be decoded.
        UsageError: an image has no frames to choose.
    """
    media = find_media([path])[0][0]
    if media.kind is None:
        raise InputError(media.error or f"{path}: is neither an image nor a video")
    reading = subject.head.readings[media.kind]
    if frames is not None:
        if media.kind == "image":
            raise UsageError(f"--frames: {path} is an image")
        reading = replace(reading, length=frames)
    spec = subject.input
    found = view_file(media.path, media.kind, [reading], views=Views(1, 1), size=spec.size)
    x = found[reading].render(spec.size, spec.mean, spec.std, subject.device)
    shown = found[reading].render(spec.size, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    pixels = (shown.reshape(-1, *shown.shape[-3:]).permute(0, 2, 3, 1) * 255).round()
    return x, pixels.clamp(0, 255).to(torch.uint8).numpy()
