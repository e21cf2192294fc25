"""Datasets to shards to batches: a package that is usable without the command line."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shards.stream.dataset import open_dataset

__all__ = ["open_dataset"]


def __getattr__(name: str) -> Any:
    """Load `open_dataset` on first use, so that `import shards` stays free of numpy."""
    if name == "open_dataset":
        from shards.stream.dataset import open_dataset

        return open_dataset
    raise AttributeError(f"module 'shards' has no attribute {name!r}")
