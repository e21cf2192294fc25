"""What recipes cost: parameters, and the multiply-adds of a view. Nothing is computed."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch

from ivvit_cli.config import Recipe
from ivvit_cli.models import build_model
from ivvit_cli.models.cost import MultiplyAdds, count_multiply_adds, count_parameters

CLASSES: Mapping[str, int] = {  # of the published datasets; shards of one's own may have others
    "cifar100": 100,
    "imagenet": 1000,
    "kinetics400": 400,
    "kinetics600": 600,
    "kinetics700": 700,
    "mini-kinetics": 200,
    "moments": 339,
    "smarthome": 31,
    "ssv2": 174,
    "tiny-imagenet": 200,
    "ucf101": 101,
}


@dataclass(frozen=True)
class Cost:
    """What a recipe's model costs.

    Attributes:
        parameters: with the heads of published datasets, and without those of others.
        trained: those of them that are.
        views: of a view, by what it is: `image`, or `16 frames`.
    """

    parameters: int
    trained: int
    views: Mapping[str, MultiplyAdds]

    def document(self) -> dict[str, Any]:
        """Return it as plain values."""
        views = {
            what: {"multiply_adds": adds.total, "multiply_adds_without_attention": adds.linear}
            for what, adds in self.views.items()
        }
        return {"parameters": self.parameters, "trained": self.trained, "views": views}

    def cells(self) -> tuple[str, str, str, str]:
        """Return millions of parameters, those trained, GMAC per view, those without attention."""
        total = "; ".join(f"{what} {a.total / 1e9:.4g}" for what, a in self.views.items())
        linear = "; ".join(f"{a.linear / 1e9:.4g}" for a in self.views.values())
        return f"{self.parameters / 1e6:.2f}", f"{self.trained / 1e6:.2f}", total, linear


COLUMNS = ("parameters, M", "trained, M", "GMAC per view", "without attention")


def cost_of(recipe: Recipe) -> Cost:
    """Return what a recipe's model costs; the shards need not be there.

    Raises:
        UsageError: the model cannot be built so.
    """
    model = recipe.model.model_dump(mode="json", exclude={"weights", "head", "parts"})
    frames = {name: section.clip and section.clip.frames for name, section in recipe.data.items()}
    return _count(json.dumps([model, frames]))


@lru_cache
def _count(text: str) -> Cost:
    section, frames = json.loads(text)
    with torch.device("meta"):
        model = build_model(section, {name: CLASSES.get(name, 1) for name in frames})
    unknown = {f"head {name}" for name in frames if name not in CLASSES}
    parts = [part for name, part in count_parameters(model).items() if name not in unknown]
    size = model.input.size
    views = {}
    for dataset, count in frames.items():
        what = f"{count} frames" if count else "image"
        shape = (count, 3, size, size) if count else (3, size, size)
        if what not in views:
            views[what] = count_multiply_adds(model, shape, dataset)
    return Cost(sum(part.total for part in parts), sum(part.trainable for part in parts), views)
