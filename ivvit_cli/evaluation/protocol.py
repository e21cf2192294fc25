"""How frames are taken and averaged: as arguments of the views, and in words beside a figure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ivvit_cli.evaluation.forward import Average
from ivvit_cli.evaluation.order import Order
from shards.manifest import Kind
from shards.stream.views import Views

_ORDERS = {
    "reverse": "frames reversed",
    "shuffle": "frames shuffled",
    "freeze": "the middle frame repeated",
}


@dataclass(frozen=True)
class Protocol:
    """All that a figure depends on beside the weights and the samples.

    `str(protocol)` are the words for it, such as `10x3 views, 16 frames over the whole video,
    224 px`. `clip` is a recipe's clip section, None for images; `size` counts pixels.
    """

    views: Views
    clip: Mapping[str, Any] | None
    size: int
    average: Average
    bf16: bool
    order: Order = "normal"

    def __str__(self) -> str:
        parts = [self._samples(), f"{self.size} px"]
        if self.order != "normal" and self.clip is not None:
            parts.append(_ORDERS[self.order])
        if self.average != "logits":
            parts.append(f"averaged {self.average}")
        if self.bf16:
            parts.append("bf16")
        return ", ".join(parts)

    def document(self) -> dict[str, Any]:
        """Return the protocol as JSON values."""
        clip = None if self.clip is None else dict(self.clip)
        return {
            "views": str(self.views),
            "clip": clip,
            "size": self.size,
            "frames": self.order,
            "average": self.average,
            "precision": "bf16" if self.bf16 else "fp32",
        }

    def _samples(self) -> str:
        if self.clip is None:
            count = self.views.crops
            return "centre crop" if count == 1 else f"up to {count} distinct crops"
        return f"{self.views} views, {_describe_clip(self.clip)}"


def most_views(kind: Kind, views: Views) -> int:
    """Return how many views a sample has; an image, which has no clips, may have fewer."""
    return views.crops if kind == "image" else views.clips * views.crops


def clip_arguments(clip: Mapping[str, Any] | None) -> dict[str, Any]:
    """Turn a recipe's clip section into the keywords of `shards.stream.clips.place_clips`."""
    arguments = dict(clip or {})
    if "frames" in arguments:
        arguments["length"] = arguments.pop("frames")
    return arguments


def _describe_clip(clip: Mapping[str, Any]) -> str:
    frames = clip["frames"]
    match clip["sample"]:
        case "window":
            return f"{frames} frames of a {clip['seconds']:g} s window"
        case "dense":
            return f"{frames} frames with a stride of {clip['stride']}"
        case "segment":
            return f"{frames} frames, one per segment"
        case _:
            return f"{frames} frames over the whole video"
