"""What pydantic found wrong with a recipe, in plain words, with the place in the file."""

import typing
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from ivvit_cli.config.overrides import suggest
from ivvit_cli.config.tree import Tree
from ivvit_cli.config.yamlio import Path, dotted

_WORDS = {  # pydantic's error type -> what the value must be; {…} comes from the error's context
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "text",
    "string_pattern_mismatch": "of the form {pattern}",
    "greater_than": "greater than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a section of its own (key: value)",
    "model_type": "a section of its own (key: value)",
    "model_attributes_type": "a section of its own (key: value)",
    "too_long": "a list of {max_length}",
}


def explain(error: ValidationError, tree: Tree, root: type[BaseModel]) -> list[str]:
    """Return one line `place: key: what is wrong` for each faulty key, sorted by line.

    Args:
        root: what the tree should have been.
    """
    faults: dict[Path, list[ErrorDetails]] = {}
    for detail in error.errors(include_url=False):
        faults.setdefault(_real_path(detail, tree.value), []).append(detail)
    return [
        f"{tree.place(path)}: {dotted(path) or root.__name__.lower()}: "
        f"{_describe(path, details, tree.value, root)}"
        for path, details in sorted(faults.items(), key=lambda fault: _line(tree.place(fault[0])))
        if not _is_misspelt(path, faults) and not _is_around(path, faults)
    ]


def _line(place: str) -> tuple[str, int]:
    """Return the file and the line of `file:line`; an override has no line."""
    file, _, line = place.rpartition(":")
    return (file, int(line)) if line.isdecimal() else (place, 0)


def _is_misspelt(path: Path, faults: Mapping[Path, Sequence[ErrorDetails]]) -> bool:
    """Tell whether a missing key is there as an unknown one, which is a fault of its own."""
    if faults[path][0]["type"] != "missing":
        return False
    beside = [other for other in faults if other[:-1] == path[:-1]]
    unknown = [str(other[-1]) for other in beside if faults[other][0]["type"] == "extra_forbidden"]
    return bool(get_close_matches(str(path[-1]), unknown))


def _is_around(path: Path, faults: Mapping[Path, Sequence[ErrorDetails]]) -> bool:
    """Tell whether there is a fault within the value, which a union's other members only repeat."""
    return any(len(other) > len(path) and other[: len(path)] == path for other in faults)


def _real_path(detail: ErrorDetails, value: Any) -> Path:
    """Drop the names of union members, which pydantic mixes into the path."""
    path: list[str | int] = []
    last = len(detail["loc"]) - 1
    for position, part in enumerate(detail["loc"]):
        if (isinstance(value, Mapping) and part in value) or (
            isinstance(value, list) and isinstance(part, int) and part < len(value)
        ):
            value = value[part]  # type: ignore[index]
            path.append(part)
        elif position == last and detail["type"] == "missing":
            path.append(part)
    if detail["type"] == "union_tag_invalid":
        path.append("kind")
    return tuple(path)


def _describe(
    path: Path, details: Sequence[ErrorDetails], value: Any, root: type[BaseModel]
) -> str:
    first = details[0]
    match first["type"]:
        case "extra_forbidden":
            allowed, key = _allowed_keys(path[:-1], value, root), str(path[-1])
            if places := _places(key, root):
                return f"unknown key here — did you mean {' or '.join(places)}?"
            return f"unknown key{suggest(key, allowed, 'keys')}"
        case "missing":
            return "the list is too short" if isinstance(path[-1], int) else "is missing"
        case "union_tag_not_found":
            return "needs `kind`"
        case "union_tag_invalid":
            return _unknown_value(first["ctx"]["tag"], first["ctx"]["expected_tags"])
        case "literal_error":
            return _unknown_value(str(first["input"]), first["ctx"]["expected"])
        case "value_error":
            return str(first["ctx"]["error"])
        case "too_short":
            return "must not be empty"
    wanted = _description(path, value, root)
    if wanted is None:
        wanted = ", or ".join(dict.fromkeys(_must_be(detail) for detail in details))
    return f"must be {wanted}, not {_show(first['input'])}"


def _must_be(detail: ErrorDetails) -> str:
    words = _WORDS.get(detail["type"])
    return words.format(**detail.get("ctx", {})) if words else detail["msg"]


def _unknown_value(given: str, expected: str) -> str:
    allowed = expected.replace("'", "").replace(" or ", ", ").split(", ")
    return f"unknown value {given!r}{suggest(given, allowed, 'values')}"


def _show(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "a section"
    return repr(value) if len(repr(value)) <= 40 else repr(value)[:37] + "…"


def _allowed_keys(path: Path, value: Any, root: type[BaseModel]) -> list[str]:
    return [key for section in _sections(path, value, root) for key in section.model_fields]


def _places(key: str, root: type[BaseModel]) -> list[str]:
    """Return where a recipe's sections have a key of that name."""
    found = []
    for section, field in root.model_fields.items():
        inner = f"{section}.NAME" if typing.get_origin(field.annotation) is dict else section
        if any(key in model.model_fields for model in _models(field.annotation)):
            found.append(f"{inner}.{key}")
    return found


def _description(path: Path, value: Any, root: type[BaseModel]) -> str | None:
    """Return the schema's words for a value that has a syntax of its own."""
    for section in _sections(path[:-1], value, root):
        if path and path[-1] in section.model_fields:
            field = section.model_fields[str(path[-1])]
            return field.description or _described(field.annotation)
    return None


def _described(annotation: Any) -> str | None:
    if isinstance(annotation, FieldInfo):
        return annotation.description
    found = (_described(argument) for argument in typing.get_args(annotation))
    return next((text for text in found if text), None)


def _sections(path: Path, value: Any, root: type[BaseModel]) -> list[type[BaseModel]]:
    """Return the schema's classes for a section; several only where its `kind` is unknown."""
    annotations: list[Any] = [root]
    for part in path:
        value = value.get(part) if isinstance(value, Mapping) else None
        annotations = [inner for outer in annotations for inner in _step(outer, str(part))]
    found = [section for annotation in annotations for section in _models(annotation)]
    kind = value.get("kind") if isinstance(value, Mapping) else None
    return [section for section in found if _kind(section) == kind] or found


def _step(annotation: Any, part: str) -> Iterator[Any]:
    if typing.get_origin(annotation) is dict:
        yield typing.get_args(annotation)[1]
        return
    for section in _models(annotation):
        if part in section.model_fields:
            yield section.model_fields[part].annotation


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from _models(argument)


def _kind(section: type[BaseModel]) -> Any:
    field = section.model_fields.get("kind")
    return typing.get_args(field.annotation)[0] if field else None
