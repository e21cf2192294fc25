"""A checkpoint with all its weights, for a machine that has nothing else."""

from collections.abc import Sequence
from pathlib import Path

from ivvit_cli.exporting.folder import new_folder
from ivvit_cli.exporting.subject import Subject, load_subject
from ivvit_cli.models.weights.files import save_tensors
from ivvit_cli.runs import META_FILE, WEIGHTS_FILE
from ivvit_cli.training.checkpoint import write_meta

Notes = dict[str, dict[str, object]]  # of each file by its name: what there is to say about it


def export_checkpoint(
    checkpoint: Path, out: Path, *, backbone: str | None = None, datasets: Sequence[str] = ()
) -> Notes:
    """Write a checkpoint's folder anew, complete, without the state that only training needs.

    Args:
        backbone, datasets: as in `load_subject`.

    Raises:
        UsageError: there is something at `out` already, or as `load_subject`.
        InputError: as `load_subject`.
        EnvironmentFault: as `load_subject`, or the disk is full.
    """
    with new_folder(out) as folder:
        write_checkpoint(load_subject(checkpoint, backbone, datasets), folder)
    return {WEIGHTS_FILE: {"about": "all weights"}, META_FILE: {"about": "what ivvit needs beside"}}


def write_checkpoint(subject: Subject, folder: Path) -> None:
    """Write a complete checkpoint into a folder.

    Raises:
        OSError, SafetensorError: the disk is full or fails.
    """
    save_tensors(subject.model.state_dict(), folder / WEIGHTS_FILE)
    document = subject.meta.model_dump(mode="json", by_alias=True) | {"frozen": None}
    write_meta(folder, document, (WEIGHTS_FILE,))
