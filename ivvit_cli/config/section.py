"""What every section of a recipe is, and the values that several of them hold."""

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def _check_name(name: str) -> str:
    """Refuse what could not name files, the link `best-NAME` and the checkpoint RUN@best-NAME."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}", name):
        raise ValueError(
            "a dataset's name starts with a letter or digit, and holds only these and . _ + -"
        )
    return name


Name = Annotated[str, AfterValidator(_check_name)]  # of a dataset
Positive = Annotated[int, Field(gt=0)]
PositiveReal = Annotated[float, Field(gt=0)]
Decay = Annotated[float, Field(ge=0, lt=1)]


class Section(BaseModel):
    """A frozen mapping that knows its keys and refuses every other."""

    model_config = ConfigDict(frozen=True, extra="forbid")
