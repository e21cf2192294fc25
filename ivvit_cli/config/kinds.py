"""What a recipe may say of `model.temporal`, for people to choose from."""

import inspect
from typing import Any, get_args

from ivvit_cli.config.model import Temporal
from ivvit_cli.config.section import Section


def list_kinds() -> list[dict[str, str]]:
    """Return each temporal kind with its options and defaults, and a line about it."""
    sections: tuple[type[Section], ...] = get_args(get_args(Temporal)[0])
    return [
        {"kind": kind, "options": _options(section), "about": _about(section)}
        for section in sections
        for kind in get_args(section.model_fields["kind"].annotation)
    ]


def _options(section: type[Section]) -> str:
    fields = section.model_fields.items()
    return ", ".join(f"{name}: {_value(f.default)}" for name, f in fields if name != "kind")


def _value(default: Any) -> str:
    """Return a default as a recipe has it; of a section of its own, the kind."""
    if isinstance(default, Section):
        return str(default.model_dump()["kind"])
    if default is None:
        return "null"
    if isinstance(default, bool):
        return str(default).lower()
    return f"[{', '.join(map(str, default))}]" if isinstance(default, tuple) else str(default)


def _about(section: type[Section]) -> str:
    return (inspect.getdoc(section) or "").split("\n")[0]
