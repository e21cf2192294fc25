"""Whether the frames of shards are large enough for what a model is fed."""

import numpy as np

from shards.stream.reader import Split


def warn_of_small_frames(
    dataset: str, split: Split, *, size: int, min_short_side: int | None
) -> str | None:
    """Return a warning where frames have a shorter side than the crops, or the recipe, need.

    Args:
        size: of a crop, in pixels; images may be smaller.
        min_short_side: what the recipe asks for, in pixels.
    """
    needed = max(min_short_side or 0, size if split.kind == "video" else 0)
    samples = split.samples
    small = int((np.minimum(samples["width"], samples["height"]) < needed).sum())
    if not small:
        return None
    return (
        f"{dataset}: the short side of {small} of {len(samples)} samples is below {needed} pixels, "
        f"so that they are enlarged; if their sources are larger: ivvit shard --short-side {needed}"
    )
