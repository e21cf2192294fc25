"""A training as plain values, from a recipe or from a test."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ivvit_cli.config import locate_shards
from ivvit_cli.training.data import DataSpec

if TYPE_CHECKING:
    from ivvit_cli.config import Recipe

Section = Mapping[str, Any]


@dataclass(frozen=True)
class Job:
    """The sections of a recipe, each a mapping as the schema has it."""

    model: Section
    input: Section
    data: Mapping[str, DataSpec]
    schedule: Section
    optim: Section
    train: Section
    eval: Section
    checkpoint: Section
    loader: Section

    @property
    def parts(self) -> dict[str, str]:
        """The parts of the model that have weights of their own, and where these come from."""
        return {part: source for part, source in self.model["parts"].items() if source}


def job_of(recipe: "Recipe") -> Job:
    """Return a recipe as a job, its shards looked up where they lie on this machine."""
    values = recipe.model_dump(exclude={"description"})
    data = {
        name: DataSpec(folder=locate_shards(section["shards"]), **section)
        for name, section in values.pop("data").items()
    }
    return Job(data=data, **values)
