"""YAML is read without PyYAML's surprises, and hostile documents cost nothing."""

import math

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ivvit_cli.config.yamlio import dump, parse
from ivvit_cli.errors import RecipeError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-5", 1e-5),
        ("5e-3", 5e-3),
        ("+1E3", 1000.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("-3", -3),
        ("0", 0),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("yes", "yes"),
        ("no", "no"),
        ("on", "on"),
        ("off", "off"),
        ("1:30", "1:30"),
        ("0123", "0123"),
        ("0x10", "0x10"),
        ("1_000", "1_000"),
        ("2026-01-01", "2026-01-01"),
        (".inf", ".inf"),
        (".nan", ".nan"),
        ("1e999", "1e999"),
        ("9" * 400, "9" * 400),
        ("'1e-5'", "1e-5"),
        ('"6"', "6"),
        ("<<", "<<"),
        ("[1, 2.5, a]", [1, 2.5, "a"]),
    ],
)
def test_a_value_is_what_it_looks_like(text: str, value: object) -> None:
    read = parse(f"key: {text}", "f").value["key"]
    assert read == value
    assert type(read) is type(value)


def test_keys_are_text() -> None:
    assert parse("1: {true: a, null: b}", "f").value == {"1": {"true": "a", "null": "b"}}


def test_every_key_and_entry_has_its_line() -> None:
    text = "a: 1\nb:\n  c: 2\n  d:\n  - 3\n  - e: 4\n# remark\nf: {g: 5}\n"
    assert parse(text, "f").lines == {
        ("a",): 1,
        ("b",): 2,
        ("b", "c"): 3,
        ("b", "d"): 4,
        ("b", "d", 0): 5,
        ("b", "d", 1): 6,
        ("b", "d", 1, "e"): 6,
        ("f",): 8,
        ("f", "g"): 8,
    }


def test_all_repeated_keys_are_named_at_once() -> None:
    with pytest.raises(RecipeError) as caught:
        parse("a: 1\nb:\n  c: 1\n  c: 2\na: 2\n", "f.yaml")
    assert caught.value.message.split("\n") == [
        "f.yaml:4: b.c: stands twice, first on line 3",
        "f.yaml:5: a: stands twice, first on line 1",
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: 1\nb: [1", 2),
        ("a:\n\tb: 1", 2),
        ("a: 1\n---\nb: 2", 2),
        ("a: *nobody", 1),
        ("{[1]: 2}", 1),
        ("a: \x00", 1),
        ("a: 1\nb: !!python/object/apply:os.system [touch /tmp/x]", 2),
        ("a: !!float 3", 1),
        ("%TAG ! tag:x\n---\na: !y 1", 3),
    ],
)
def test_what_is_refused_is_refused_with_its_line(text: str, line: int) -> None:
    with pytest.raises(RecipeError, match=rf"^f\.yaml:{line}: "):
        parse(text, "f.yaml")


def test_an_alias_repeats_a_value() -> None:
    assert parse("a: &x {y: 1}\nb: *x", "f").value == {"a": {"y": 1}, "b": {"y": 1}}


def bomb(levels: int) -> str:
    lines = ["a0: &a0 [" + "1, " * 9 + "1]"]
    for level in range(1, levels):
        lines.append(f"a{level}: &a{level} [" + f"*a{level - 1}, " * 9 + f"*a{level - 1}]")
    return "\n".join(lines)


@pytest.mark.parametrize(
    "text", [bomb(9), "a: &a [*a]", "[" * 2000, "{a: " * 100 + "}" * 100, "a: " + "x" * 1_000_001]
)
def test_a_document_that_explodes_is_refused(text: str) -> None:
    with pytest.raises(RecipeError, match=r"too many|too deeply|larger than"):
        parse(text, "f")


SCALARS = st.none() | st.booleans() | st.integers(-(10**15), 10**15) | st.text()
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    SCALARS | NUMBERS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
)


@settings(max_examples=60, deadline=None)
@given(VALUES)
def test_what_is_written_reads_back(value: object) -> None:
    assert same(parse(dump({"key": value}), "f").value["key"], value)


def same(a: object, b: object) -> bool:
    if isinstance(a, float) and isinstance(b, float):
        return a == b and math.copysign(1, a) == math.copysign(1, b)
    return a == b and type(a) is type(b)


@pytest.mark.parametrize("text", ["1e-5", "yes", "0123", "1:30", "2026-01-01", "null", "", "5"])
def test_text_that_others_would_misread_is_quoted(text: str) -> None:
    assert yaml.safe_load(dump({"key": text})) == {"key": text}
