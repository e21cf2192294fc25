"""What stands between a bad update and the weights: losses that are not finite, and full memory."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from ivvit_cli.errors import EnvironmentFault, IvvitError
from shards.stream.loader import Batch

LIMIT = 3  # bad updates in a row that end a run
_SHOWN = 8  # sample keys in a message
# Of the CPU's allocator, of CUDA outside torch's own, and of cuBLAS, cuDNN and NCCL.
_SIGNS_OF_FULL_MEMORY = ("can't allocate memory", "out of memory", "alloc_failed")


@dataclass
class Guard:
    """Counts the updates that were skipped because their loss or gradient was not finite.

    Those in a row are counted for each group of datasets that share an update, since a healthy
    dataset between them says nothing about a broken one.
    """

    skipped: int = 0
    in_a_row: dict[str, int] = field(default_factory=dict)

    def admit(self, datasets: str, finite: bool) -> bool:
        """Tell whether an update on these datasets may change the weights, and keep count."""
        self.skipped += not finite
        self.in_a_row[datasets] = 0 if finite else self.in_a_row.get(datasets, 0) + 1
        return finite

    def tripped(self, datasets: str) -> bool:
        """Tell whether they had so many bad updates in a row that chance is no explanation."""
        return self.in_a_row.get(datasets, 0) >= LIMIT


def not_finite(datasets: str, iteration: int, keys: list[str]) -> IvvitError:
    """Return the error that ends a run after `LIMIT` bad updates; `keys` are the last one's."""
    more = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
    return IvvitError(
        f"{LIMIT} updates in a row on {datasets} had a loss that is not finite; the last was "
        f"iteration {iteration}, samples {', '.join(keys[:_SHOWN])}{more}",
        hint="lower optim.lr, or set optim.clip_norm and optim.warmup",
    )


@contextmanager
def memory_guarded(batches: Mapping[str, Batch], accumulate: int) -> Iterator[None]:
    """Turn running out of memory inside the block into one line that names the batch.

    Raises:
        EnvironmentFault: the GPU's or the machine's memory is full.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not _is_full(error):
            raise
        raise EnvironmentFault(
            f"out of memory with {'; '.join(map(_size, batches.values()))} "
            f"in {accumulate} micro-batch{'es' if accumulate > 1 else ''}",
            hint=f"train.accumulate={2 * accumulate} needs half of it and learns the same; "
            f"or lower {', '.join(f'data.{name}.batch' for name in batches)}",
        ) from error


def _is_full(error: Exception) -> bool:
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return any(sign in str(error).lower() for sign in _SIGNS_OF_FULL_MEMORY)


def _size(batch: Batch) -> str:
    count, frames = batch.frames.shape[:2]
    what = "images" if batch.kind == "image" else f"clips of {frames} frames"
    return f"{batch.dataset}: {count} {what} per process"
