"""YAML without its traps, and the line of everything that was read.

PyYAML reads `1e-5` as text, `no` and `on` as booleans, `1:30` as 90 and `0123` as 83, and keeps
the last of two equal keys in silence. Here numbers are decimal, booleans are `true` and `false`,
keys are always text, a repeated key is an error, tags are refused, and aliases cannot multiply.
"""

import math
import re
from dataclasses import dataclass
from typing import Any

import yaml

from ivvit_cli.errors import RecipeError

Path = tuple[str | int, ...]

MAX_BYTES = 1_000_000
MAX_NODES = 20_000  # values of a document after its aliases are written out
MAX_DEPTH = 40

_TOO_MUCH = "too many or too deeply nested values"
_OPENING = (
    *(yaml.FlowSequenceStartToken, yaml.FlowMappingStartToken),
    *(yaml.BlockSequenceStartToken, yaml.BlockMappingStartToken),
)
_CLOSING = (yaml.FlowSequenceEndToken, yaml.FlowMappingEndToken, yaml.BlockEndToken)
_PREFIX = "tag:yaml.org,2002:"
_SCALARS = {  # what a plain scalar is: tag, pattern, first characters
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "bool": (r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    "int": (r"[-+]?(?:0|[1-9][0-9]*)", list("-+0123456789")),
    "float": (
        r"[-+]?(?:(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+)",
        list("-+.0123456789"),
    ),
}


class _Loader(yaml.SafeLoader):
    """Knows no plain scalars but those of `_SCALARS`."""


class _Dumper(yaml.SafeDumper):
    """Quotes text that either PyYAML or this module would read as something else."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_text(self, text: str) -> yaml.ScalarNode:
        """Quote what no editor shows, which PyYAML would fold or write as it is."""
        style = None if text.isprintable() else '"'
        return self.represent_scalar(_PREFIX + "str", text, style=style)


_Dumper.add_representer(str, _Dumper.represent_text)
_Loader.yaml_implicit_resolvers = {}
for _tag, (_pattern, _first) in _SCALARS.items():
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(_PREFIX + _tag, re.compile(f"(?:{_pattern})$"), _first)


@dataclass(frozen=True)
class Document:
    """A value and the line (from 1) of every key and list entry in it."""

    value: Any
    lines: dict[Path, int]


def parse(text: str, name: str) -> Document:
    """Read one YAML document; `name` is what its errors call it.

    Raises:
        RecipeError: the syntax is wrong, a key stands twice, or the document uses what is refused.
    """
    if len(text) > MAX_BYTES:
        raise RecipeError(f"{name}:1: larger than {MAX_BYTES} bytes, which no recipe is")
    try:
        _check_tokens(text, name)
        root = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise RecipeError(f"{name}:{line}: not valid YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise RecipeError(f"{name}:1: not valid YAML: {' '.join(str(error).split())}") from None
    builder = _Builder(name)
    value = None if root is None else builder.build(root, ())
    if builder.problems:
        raise RecipeError(*builder.problems)
    return Document(value, builder.lines)


def dump(value: Any) -> str:
    """Write plain values as YAML that `parse` reads back as equal values."""
    text = yaml.dump(
        value,
        Dumper=_Dumper,
        sort_keys=False,
        default_flow_style=None,
        width=100,
        allow_unicode=True,
    )
    return str(text)


def _check_tokens(text: str, name: str) -> None:
    """Refuse tags, and at once what is nested deeply: PyYAML's time grows with its square."""
    depth = 0
    for token in yaml.scan(text, Loader=_Loader):
        depth += isinstance(token, _OPENING) - isinstance(token, _CLOSING)
        line = token.start_mark.line + 1
        if isinstance(token, yaml.TagToken):
            raise RecipeError(f"{name}:{line}: a tag (`!…`) is not allowed in a recipe")
        if depth > MAX_DEPTH:
            raise RecipeError(f"{name}:{line}: {_TOO_MUCH}")


class _Builder:
    """Turns a node graph into values, with the lines and the problems met on the way."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.lines: dict[Path, int] = {}
        self.problems: list[str] = []
        self.nodes = 0

    def build(self, node: yaml.Node, path: Path) -> Any:
        self.nodes += 1
        if self.nodes > MAX_NODES or len(path) > MAX_DEPTH:
            raise RecipeError(f"{self.name}:{_line(node)}: {_TOO_MUCH}")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self._entry(child, (*path, i), child) for i, child in enumerate(node.value)]
        return self._scalar(node)

    def _entry(self, node: yaml.Node, path: Path, place: yaml.Node) -> Any:
        self.lines[path] = _line(place)
        return self.build(node, path)

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        built: dict[str, Any] = {}
        for key_node, child in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._problem(key_node, path, "a key must be text")
                continue
            key = key_node.value
            if key in built:
                first = self.lines[(*path, key)]
                self._problem(key_node, (*path, key), f"stands twice, first on line {first}")
                continue
            built[key] = self._entry(child, (*path, key), key_node)
        return built

    def _scalar(self, node: yaml.Node) -> Any:
        text, tag = node.value, node.tag.removeprefix(_PREFIX)
        if tag == "null":
            return None
        if tag == "bool":
            return text.lower() == "true"
        if tag == "int" and len(text) < 20:
            return int(text)
        if tag == "float" and math.isfinite(float(text)):
            return float(text)
        return text

    def _problem(self, node: yaml.Node, path: Path, text: str) -> None:
        where = f"{dotted(path)}: " if path else ""
        self.problems.append(f"{self.name}:{_line(node)}: {where}{text}")


def dotted(path: Path) -> str:
    """Return a path as the user writes it: `data.ucf101.batch`."""
    return ".".join(map(str, path))


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
