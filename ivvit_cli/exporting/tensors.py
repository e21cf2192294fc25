"""A model's tensors as one file, with what it takes to build the model around them."""

from collections.abc import Sequence
from pathlib import Path

from ivvit_cli.exporting.checkpoint import Notes
from ivvit_cli.exporting.subject import load_subject
from ivvit_cli.models.weights.convert import check_target, write_tensors
from ivvit_cli.runs import WEIGHTS_FILE, digest_file


def export_tensors(
    checkpoint: Path, out: Path, *, backbone: str | None = None, datasets: Sequence[str] = ()
) -> Notes:
    """Write a .safetensors file, as `ivvit model import` writes them, of the model's state dict.

    Its note holds, as JSON, `model` (what `build_model` takes), `classes` by dataset and `input`.

    Args:
        backbone, datasets: as in `load_subject`.

    Raises:
        UsageError: `out` has another suffix or exists, or as `load_subject`.
        InputError: its folder does not exist, or as `load_subject`.
        EnvironmentFault: as `load_subject`, or the disk is full.
    """
    check_target(out)
    subject = load_subject(checkpoint, backbone, datasets)
    meta = subject.meta.model_dump(mode="json")
    note = {
        "source": checkpoint.name,
        "sha256": digest_file(checkpoint / WEIGHTS_FILE),
        "importer": "ivvit",
        "classes": {name: head["classes"] for name, head in meta["heads"].items()},
        "clips": {name: head["clip"] for name, head in meta["heads"].items()},
        "model": meta["model"],
        "input": meta["input"],
    }
    tensors = subject.model.state_dict()
    write_tensors(tensors, note, out)
    return {out.name: {"about": f"{len(tensors)} tensors"}}
