"""Keys: valid, unique, and independent of the order of the items."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shards.convert.items import Item
from shards.convert.keys import VALID_KEY, assign_keys, clean_key
from shards.errors import InputError


def item(key: str, split: str = "train", source: str = "") -> Item:
    return Item(key, split, 0, source or f"{split}/{key}", 1)


@given(st.text(max_size=300))
def test_every_name_becomes_a_valid_key(name: str) -> None:
    assert VALID_KEY.fullmatch(clean_key(name))


def test_a_plain_name_is_its_own_key() -> None:
    assert clean_key("v_Punch_g01_c01") == "v_Punch_g01_c01"
    assert clean_key("-3B32lodo2M_000059_000069") == "-3B32lodo2M_000059_000069"


def test_a_dot_does_not_survive_because_webdataset_would_cut_there() -> None:
    assert clean_key("clip.v1.final") == "clip_v1_final"


def test_long_names_that_differ_at_the_end_stay_different() -> None:
    first, second = clean_key("x" * 200 + "a"), clean_key("x" * 200 + "b")
    assert first != second
    assert len(first) == len(second) == 80


@given(st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=90), unique=True))
def test_keys_are_unique_and_do_not_depend_on_the_order(names: list[str]) -> None:
    items = [item(name, source=name) for name in names]
    keys = {each.source: each.key for each in assign_keys(items)}
    random.Random(0).shuffle(items)
    assert {each.source: each.key for each in assign_keys(items)} == keys
    assert len({key.lower() for key in keys.values()}) == len(names)


def test_items_that_collide_are_all_marked_with_their_source() -> None:
    one, two, other = assign_keys(
        [item("a", source="x/a.jpg"), item("A", source="x/A.png"), item("b", source="x/b.jpg")]
    )
    assert other.key == "b"
    assert {one.key[:2], two.key[:2]} == {"a-", "A-"}
    assert len(one.key) == len("a-") + 8


def test_items_are_in_the_order_of_the_splits_then_of_the_keys() -> None:
    items = assign_keys(
        [item("b", "test"), item("a", "val"), item("z", "train"), item("y", "train")]
    )
    assert [each.split for each in items] == ["train", "train", "val", "test"]
    assert items[0].key == "y"


def test_the_same_source_twice_is_refused() -> None:
    with pytest.raises(InputError, match="same key"):
        assign_keys([item("a", source="a.jpg"), item("a", source="a.jpg")])
