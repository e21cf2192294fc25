"""A checkpoint with all its weights, for a machine that has nothing else."""

import shutil
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file

from ivvit_cli.errors import EnvironmentFault, UsageError
from ivvit_cli.runs import WEIGHTS_FILE, load_model
from ivvit_cli.training.checkpoint import write_meta
from shards.files import temporary_path


def export_checkpoint(checkpoint: Path, out: Path, backbone: str | None = None) -> Path:
    """Write a checkpoint's folder anew, complete, without the state that only training needs.

    Args:
        backbone: where the frozen weights are that it names, if not where it says.

    Raises:
        UsageError: there is something at `out` already.
        InputError: the checkpoint, or its backbone, is damaged.
        EnvironmentFault: its backbone is not there, or the disk is full.
    """
    if out.exists():
        raise UsageError(f"{out}: exists already", hint="give another folder with -o")
    model, meta = load_model(checkpoint, "cpu", backbone)
    new = temporary_path(out)
    try:
        new.mkdir(parents=True)
        save_file(model.state_dict(), new / WEIGHTS_FILE)
        document = meta.model_dump(mode="json", by_alias=True) | {"frozen": None}
        write_meta(new, document, (WEIGHTS_FILE,))
        new.rename(out)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(new, ignore_errors=True)
        raise EnvironmentFault(f"{out}: cannot be written: {error}") from None
    return out
