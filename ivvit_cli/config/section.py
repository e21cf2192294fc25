"""What every section of a recipe is, and the values that several of them hold."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[int, Field(gt=0)]
PositiveReal = Annotated[float, Field(gt=0)]
Decay = Annotated[float, Field(ge=0, lt=1)]


class Section(BaseModel):
    """A frozen mapping that knows its keys and refuses every other."""

    model_config = ConfigDict(frozen=True, extra="forbid")
