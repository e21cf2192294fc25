"""What a recipe's `model.backbone` may be."""

import difflib
from fnmatch import fnmatch
from typing import Any

import timm

from ivvit_cli.errors import UsageError
from ivvit_cli.models.backbone import list_vits


def list_backbones(pattern: str | None = None) -> list[dict[str, Any]]:
    """Return the ViTs that timm can build: name, side of the input, tags of weights.

    Args:
        pattern: a part of the name, in which * is anything.

    Raises:
        UsageError: no name has this part.
    """
    names = [name for name in list_vits() if fnmatch(name, f"*{pattern or ''}*")]
    if not names:
        close = difflib.get_close_matches(pattern or "", list_vits(), n=3, cutoff=0)
        raise UsageError(f"no backbone is named {pattern}", hint=f"the nearest: {', '.join(close)}")
    tags: dict[str, list[str]] = {name: [] for name in names}
    for pretrained in timm.list_pretrained():
        name, _, tag = pretrained.partition(".")
        if name in tags:
            tags[name].append(tag)
    sizes = {name: timm.get_pretrained_cfg(name).input_size[-1] for name in names}
    return [{"name": name, "size": sizes[name], "tags": tags[name]} for name in names]
