"""Where a model's weights began, in words that tell nothing of this machine's folders."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ivvit_cli.errors import IvvitError
from ivvit_cli.models.weights.source import is_remote, read_source


def publish(model: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe's `model` with sources of weights by their names: at a hub, or of a file."""
    weights, parts = model.get("weights"), model.get("parts") or {}
    named = {part: source and _name(source) for part, source in parts.items()}
    return {**model, "weights": weights and _name(weights), "parts": named}


def describe_start(weights: str | None) -> str:
    """Say what weights training began from; of a file that is still there, with its sha256."""
    if weights is None:
        return "random weights"
    name = f"`{_name(weights)}`"
    if not is_remote(weights):
        with suppress(IvvitError):  # the file is gone, and its name is all there is
            name += f" (sha256 {read_source(weights).digest()})"
    return name


def _name(source: str) -> str:
    return source if is_remote(source) else Path(source.removeprefix("run:")).name
