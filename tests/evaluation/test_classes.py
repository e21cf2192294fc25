"""A head is only evaluated on shards whose labels mean what its own mean."""

import pytest

from ivvit_cli.evaluation.classes import check_classes
from shards.errors import InputError


def test_equal_lists_pass():
    check_classes("toy", ["a", "b"], ("a", "b"))


@pytest.mark.parametrize(
    ("head", "shards", "words"),
    [
        (["a", "b", "c"], ["a", "c", "b"], ["label 1", "'b'", "'c'", "in another order"]),
        (["a", "b"], ["a", "x"], ["label 1 is 'b' in the checkpoint", "'x' in the shards"]),
        (["a"], ["a", "b"], ["label 1 is no class in the checkpoint (1 classes)", "'b'"]),
        (["a", "b"], ["a"], ["'b' in the checkpoint (2 classes)", "no class in the shards"]),
    ],
)
def test_the_first_difference_is_named(head, shards, words):
    with pytest.raises(InputError) as caught:
        check_classes("toy", head, shards)
    assert caught.value.message.startswith("toy: ")
    assert all(word in caught.value.message for word in words)
    assert ("in another order" in caught.value.message) == (sorted(head) == sorted(shards))
