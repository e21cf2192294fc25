"""The words beside a figure."""

import pytest

from ivvit_cli.evaluation.protocol import Protocol, clip_arguments
from shards.stream.views import Views

WINDOW = {"sample": "window", "frames": 16, "seconds": 2.67, "stride": None}


@pytest.mark.parametrize(
    ("clip", "words"),
    [
        (WINDOW, "10x3 views, 16 frames of a 2.67 s window, 224 px"),
        (
            {"sample": "dense", "frames": 8, "seconds": None, "stride": 32},
            "10x3 views, 8 frames with a stride of 32, 224 px",
        ),
        ({"sample": "uniform", "frames": 8}, "10x3 views, 8 frames over the whole video, 224 px"),
        ({"sample": "segment", "frames": 8}, "10x3 views, 8 frames, one per segment, 224 px"),
        (None, "up to 3 distinct crops, 224 px"),
    ],
)
def test_the_words_say_what_was_seen(clip, words):
    assert str(Protocol(Views(10, 3), clip, 224, "logits", bf16=False)) == words


def test_what_is_not_usual_is_said():
    words = str(Protocol(Views(1, 1), None, 32, "probabilities", bf16=True))
    assert words == "centre crop, 32 px, averaged probabilities, bf16"


def test_a_recipes_clip_section_becomes_the_keywords_of_the_views():
    keywords = {"sample": "window", "length": 16, "seconds": 2.67, "stride": None}
    assert clip_arguments(WINDOW) == keywords
    assert clip_arguments(None) == {}
    assert WINDOW["frames"] == 16  # left as it was
