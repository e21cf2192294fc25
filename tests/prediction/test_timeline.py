"""Windows to segments, and the picture of them."""

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from ivvit_cli.prediction.heads import Head
from ivvit_cli.prediction.plot import Tracks, draw
from ivvit_cli.prediction.reader import Prediction
from ivvit_cli.prediction.timeline import Moment, Segment, clock, merge

SVG = "{http://www.w3.org/2000/svg}"


def test_adjacent_windows_of_one_label_are_a_segment():
    moments = [Moment(0, 2, "a", 0.5), Moment(2, 4, "a", 1.0), Moment(4, 6, "b", 0.7)]
    moments.append(Moment(6, 7, "a", 0.1))
    assert merge(moments) == [
        Segment(0, 4, "a", 0.75, 2),
        Segment(4, 6, "b", 0.7, 1),
        Segment(6, 7, "a", 0.1, 1),
    ]
    assert merge([]) == []


def test_overlapping_windows_share_their_common_time():
    moments = [Moment(0, 4, "a", 1.0), Moment(1, 5, "b", 1.0), Moment(2, 6, "b", 1.0)]
    assert [(each.start, each.end) for each in merge(moments)] == [(0, 2.5), (2.5, 6)]


def test_what_lies_between_windows_belongs_to_none():
    moments = [Moment(0, 1, "a", 1.0), Moment(10, 11, "b", 1.0), Moment(20, 21, "b", 1.0)]
    assert [(each.start, each.end) for each in merge(moments)] == [(0, 1), (10, 21)]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0:00.0"),
        (9.96, "0:10.0"),
        (75.25, "1:15.2"),
        (3599.97, "1:00:00.0"),
        (7384, "2:03:04.0"),
    ],
)
def test_times_are_read_as_on_a_clock(seconds, text):
    assert clock(seconds) == text


def drawing(scores, classes, file="a.mp4", hop=2.0):
    """Draw windows with these scores, (N, C), and return the elements of the picture."""
    tracks = Tracks([Head("toys", "video", classes, {})])
    for number, row in enumerate(np.array(scores, np.float32)):
        span = (number * hop, number * hop + 2)
        tracks.add(Prediction(Path(file), "video", None, span, {"toys": row}))
    tracks.add(Prediction(Path("b.png"), "image", None, None, {"toys": row}))
    tracks.add(Prediction(Path(file), "video", "is damaged"))
    return ElementTree.fromstring(draw(tracks.tracks))


def test_the_picture_has_a_ribbon_of_segments_and_a_curve_for_each_label():
    picture = drawing([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7]], ["cat", "dog"])
    bars = picture.findall(f".//{SVG}rect")
    assert [bar[0].text for bar in bars] == [
        "0:00.0 to 0:04.0: cat, 85 %",
        "0:04.0 to 0:06.0: dog, 70 %",
    ]
    assert [bar.get("fill") for bar in bars] == ["var(--c0)", "var(--c1)"]
    assert float(bars[0].get("width")) == pytest.approx(2 * float(bars[1].get("width")), abs=1)
    curves = [line.get("points") for line in picture.iter(f"{SVG}polyline")]
    heights = [[float(p.split(",")[1]) for p in points.split()] for points in curves[:2]]
    assert heights[0] == sorted(heights[0])  # the score falls, and y counts from above
    assert heights[1] == sorted(heights[1], reverse=True)
    words = [text.text for text in picture.iter(f"{SVG}text")]
    assert {"a.mp4 · toys", "cat", "dog", "0:00", "0:06", "100 %"} <= set(words)
    assert "prefers-color-scheme: dark" in picture.find(f"{SVG}style").text


def test_names_are_only_names():
    picture = drawing([[1.0]], ["</text><script>"], file="x/" * 80 + "<&\x1b\n.mp4")
    assert picture.find(f".//{SVG}script") is None
    name = picture.find(f".//{SVG}text[@class='name']").text
    assert name.startswith("…x/")
    assert name.endswith("<&?\n.mp4 · toys")


def test_many_labels_and_many_windows_stay_readable():
    scores = np.eye(9)[np.arange(3000) // 10 % 9]
    picture = drawing(scores, [f"a long name of class {k}" for k in range(9)], hop=1.0)
    lines = [line.get("points").split() for line in picture.iter(f"{SVG}polyline")]
    assert len(lines) == 6 + 7  # curves, and the lines of the legend with that of the others
    assert max(map(len, lines)) <= 400
    fills = {bar.get("fill") for bar in picture.iter(f"{SVG}rect")}
    assert fills == {f"var(--c{k})" for k in range(6)} | {"var(--muted)"}
    assert "others" in [text.text for text in picture.iter(f"{SVG}text")]
    assert {text.get("y") for text in picture.iter(f"{SVG}text") if "class" in text.text} == {"14"}


def test_a_window_without_scores_is_left_out_also_the_first():
    tracks = Tracks([Head("toys", "video", ["cat"], {})])
    for file, errors in (("a.mp4", [None, None]), ("b.mp4", ["NaN", None]), ("c.mp4", ["NaN"])):
        for number, error in enumerate(errors):
            span, scores = (2.0 * number, 2.0 * number + 2), {"toys": np.ones(1, np.float32)}
            tracks.add(Prediction(Path(file), "video", error, span, scores))
    assert [(each.file, len(each.moments)) for each in tracks.tracks] == [
        ("a.mp4", 2),
        ("b.mp4", 1),
    ]


def test_one_window_is_a_point():
    picture = drawing([[0.4, 0.6]], ["cat", "dog"])
    assert len(list(picture.iter(f"{SVG}circle"))) == 1
    assert "others" not in [text.text for text in picture.iter(f"{SVG}text")]
