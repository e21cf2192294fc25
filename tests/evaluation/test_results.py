"""The files of an evaluation, read back by other means than those that wrote them."""

import csv
import json

import numpy as np
import pytest

from ivvit_cli.evaluation.metrics import Scores
from ivvit_cli.evaluation.results import uncertainty, write_results

SCORES = Scores(
    np.array([[0.9, 0.1, 0.0], [0.2, 0.8, 0.0], [0.7, 0.3, 0.0]], np.float32),
    np.array([0, 1, 1], np.int64),
    ["clip-a", "clip-b", "clip-é"],
)
CLASSES = ["Apply, slowly", 'say "hi"', "never"]


PROTOCOL = {"views": "10x3", "size": 32, "average": "logits"}


def test_every_file_holds_the_result(tmp_path):
    folder = tmp_path / "eval" / "toy-val-10x3"
    write_results(folder, SCORES, classes=CLASSES, protocol=PROTOCOL)

    document = json.loads((folder / "metrics.json").read_text())
    assert document["samples"] == 3
    assert document["top1"] == 100 * 2 / 3
    assert document["mean_class"] == 75.0
    assert document["undefined"] == 0
    assert document["protocol"] == PROTOCOL
    assert document["top1_interval"] == pytest.approx([20.765, 93.851], abs=1e-3)
    assert document["confused"] == [{"class": CLASSES[1], "as": CLASSES[0], "samples": 1}]
    assert 0 < document["calibration_error"] < 100

    with (folder / "per_class.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["class"] for row in rows] == CLASSES
    assert [(row["samples"], row["top1_correct"]) for row in rows] == [
        ("1", "1"), ("2", "1"), ("0", "0"),
    ]  # fmt: skip
    assert [row["top1"] for row in rows] == ["100.0000", "50.0000", ""]

    with np.load(folder / "scores.npz", allow_pickle=False) as arrays:
        assert np.array_equal(arrays["scores"], SCORES.scores)
        assert arrays["labels"].tolist() == [0, 1, 1]
        assert arrays["keys"].tolist() == ["clip-a", "clip-b", "clip-é"]


def test_a_second_evaluation_replaces_the_first_and_leaves_nothing_else(tmp_path):
    for size in (32, 64):
        write_results(
            tmp_path, SCORES, classes=CLASSES, protocol={"size": size, "average": "logits"}
        )
    assert json.loads((tmp_path / "metrics.json").read_text())["protocol"]["size"] == 64
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "metrics.json", "per_class.csv", "scores.npz",
    ]  # fmt: skip


def test_scores_that_are_not_finite_have_no_calibration_error():
    scores = np.array([[np.inf, 0], [1, 2]], np.float32)
    found = uncertainty(Scores(scores, np.array([0, 1]), ["a", "b"]), "logits")
    assert found["calibration_error"] is None
    assert found["top1_interval"][1] == 100
