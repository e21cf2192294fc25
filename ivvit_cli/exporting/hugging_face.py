"""A folder for Hugging Face's hub: the model, how to prepare its input, and its card."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ivvit_cli.exporting.card import write_card
from ivvit_cli.exporting.checkpoint import Notes, write_checkpoint
from ivvit_cli.exporting.folder import new_folder
from ivvit_cli.exporting.hugging_names import (
    Architecture,
    find_architecture,
    name_tensors,
    settings_of,
)
from ivvit_cli.exporting.subject import Subject, frames_of, load_subject
from ivvit_cli.meta import HeadMeta, InputMeta
from ivvit_cli.models.weights.files import save_tensors
from ivvit_cli.models.weights.repository import CONFIG_FILE
from ivvit_cli.runs import WEIGHTS_FILE

CARD_FILE = "README.md"
PREPROCESSOR_FILE = "preprocessor_config.json"
OWN = "ivvit"  # the architecture of models that transformers does not know


def export_hugging_face(
    checkpoint: Path, out: Path, *, backbone: str | None = None, datasets: Sequence[str] = ()
) -> Notes:
    """Write a folder as those of the hub.

    A model that `transformers` knows, a plain ViT or a TimeSformer, gets its names. As such has one
    classifier, several heads become a folder each, `out/DATASET`. Any other is a complete
    checkpoint of this package, with all heads, and its config.json names the architecture `ivvit`.

    Args:
        backbone, datasets: as in `load_subject`.

    Raises:
        UsageError, InputError, EnvironmentFault: as `export_checkpoint`.
    """
    with new_folder(out) as folder:
        subject = load_subject(checkpoint, backbone, datasets)
        found, heads = find_architecture(subject.model), list(subject.meta.heads)
        if found is None:
            _write_own(subject, folder)
            return {WEIGHTS_FILE: {"about": "for ivvit", "architecture": OWN, "datasets": heads}}
        notes: Notes = {}
        for name in heads:
            place = folder / name if len(heads) > 1 else folder
            place.mkdir(exist_ok=True)
            _write_theirs(subject.only([name]), found, place)
            file = str((place / WEIGHTS_FILE).relative_to(folder))
            about = f"for transformers: {found.name}"
            notes[file] = {"about": about, "architecture": found.name, "datasets": [name]}
    return notes


def _write_theirs(subject: Subject, found: Architecture, folder: Path) -> None:
    ((dataset, head),) = subject.meta.heads.items()
    frames = frames_of(head)
    tensors = name_tensors(subject.model, dataset, found, frames)
    # transformers refuses a file without this word
    save_tensors(tensors, folder / WEIGHTS_FILE, {"format": "pt"})
    config = settings_of(subject.model, found, frames) | _labels(head.classes)
    _write_rest(subject, found.name, config | {OWN: _describe(dataset, head)}, folder)


def _write_own(subject: Subject, folder: Path) -> None:
    write_checkpoint(subject, folder)
    heads = {
        name: _labels(head.classes) | _describe(name, head)
        for name, head in subject.meta.heads.items()
    }
    config = {"architectures": [OWN], "model_type": OWN, "image_size": subject.meta.input.size}
    _write_rest(subject, OWN, {**config, "model": subject.meta.model, "datasets": heads}, folder)


def _write_rest(
    subject: Subject, architecture: str, config: Mapping[str, Any], folder: Path
) -> None:
    video = config.get("num_frames") is not None
    _write_json(folder / CONFIG_FILE, config)
    _write_json(folder / PREPROCESSOR_FILE, preprocessing(subject.meta.input, video=video))
    write_card(subject.meta, subject.start, architecture, folder / CARD_FILE)


def _labels(classes: Sequence[str]) -> dict[str, Any]:
    return {
        "id2label": {str(label): name for label, name in enumerate(classes)},
        "label2id": {name: label for label, name in enumerate(classes)},
    }


def _describe(dataset: str, head: HeadMeta) -> dict[str, Any]:
    return {"dataset": dataset, "kind": head.kind, "clip": head.clip}


def preprocessing(spec: InputMeta, *, video: bool) -> dict[str, Any]:
    """Return preprocessor_config.json: the centre crop of the short side, normalised."""
    return {
        "image_processor_type": "VideoMAEImageProcessor" if video else "CLIPImageProcessor",
        "do_resize": True,
        "size": {"shortest_edge": spec.size},
        "resample": 2,  # bilinear
        "do_center_crop": True,
        "crop_size": {"height": spec.size, "width": spec.size},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(spec.mean),
        "image_std": list(spec.std),
    }


def _write_json(path: Path, document: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
