"""What a dataset may be called, in recipes and in checkpoints."""

import re
from typing import Annotated

from pydantic import AfterValidator


def _check_name(name: str) -> str:
    """Refuse what could not name files, the link `best-NAME` and the checkpoint RUN@best-NAME."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}", name):
        raise ValueError(
            "a dataset's name starts with a letter or digit, and holds only these and . _ + -"
        )
    return name


Name = Annotated[str, AfterValidator(_check_name)]
