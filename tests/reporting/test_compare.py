"""`ivvit compare`: figures, paired differences, recipes, and what it refuses."""

import io
import json
import re
import shutil

import numpy as np
import pytest
from rich.console import Console

from ivvit_cli import app, console
from ivvit_cli.evaluation.metrics import Scores
from ivvit_cli.evaluation.results import write_results
from ivvit_cli.evaluation.statistics import mcnemar, paired_difference
from ivvit_cli.reporting.compare import subtract
from ivvit_cli.reporting.record import confusion_matrix, read_run

RECIPE = """\
model: {{backbone: vit_tiny_patch16_224}}
data: {{toys: {{shards: data/toys, batch: 4}}}}
schedule: {{iterations: 5}}
optim: {{lr: {rate}}}
"""
PROTOCOL = {"dataset": "toys", "split": "val", "views": "1x1", "average": "logits"}


def made(folder, hits, *, rate="1e-3", keys=None):
    """Write a run that gets these samples right."""
    folder.mkdir(parents=True)
    (folder / "recipe.yaml").write_text(RECIPE.format(rate=rate))
    rows = [
        {"event": "train", "iteration": k, "dataset": "toys", "loss": 1 / k, "top1": 50.0,
         "lr": 1e-3, "samples": 60, "clips_per_second": 60.0 / k, "data_wait": 0.1 * k,
         "memory_mb": 100 * k, "skipped": 0}
        for k in (1, 2, 3)
    ]  # fmt: skip
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    labels = np.arange(len(hits)) % 2
    scores = np.eye(2, dtype=np.float32)[np.where(hits, labels, 1 - labels)]
    keys = keys or [f"k{number}" for number in range(len(hits))]
    write_results(
        folder / "eval" / "toys-val-1x1",
        Scores(scores, labels.astype(np.int64), keys),
        classes=["a", "b"],
        protocol=PROTOCOL,
    )
    return folder


@pytest.fixture
def runs(tmp_path):
    first = made(tmp_path / "first", [1] * 10 + [0] * 10)
    second = made(tmp_path / "second", [1] * 8 + [0] * 2 + [1] * 7 + [0] * 3, rate="2e-3")
    return first, second


def compared(capsys, *runs):
    assert app.run(["compare", *map(str, runs), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_difference_is_taken_on_the_same_samples(runs, capsys):
    document = compared(capsys, *runs)
    first, second = document["evaluations"]["toys-val-1x1"]
    assert (first["top1"], second["top1"], "difference" in first) == (50, 75, False)
    found = second["difference"]
    assert (found["points"], found["samples"]) == (25, 20)
    assert (found["low"], found["high"]) == paired_difference(2, 7, 20)
    assert found["p"] == mcnemar(2, 7)
    assert document["recipes"] == [{str(runs[1]): {"optim.lr": [0.001, 0.002]}}]
    cost = document["cost"][str(runs[0])]
    wait = (0.1 * 1 + 0.2 * 2 + 0.3 * 3) / 6  # of 6 seconds, in which there were 180 clips
    assert cost == {"clips_per_second": 30, "data_wait": pytest.approx(wait), "memory_mb": 300}


def test_samples_are_matched_by_their_keys(runs, tmp_path):
    keys = [f"k{number}" for number in range(19, -1, -1)]
    turned = made(tmp_path / "turned", [0] * 10 + [1] * 10, keys=keys)
    name = "toys-val-1x1"
    first, other = (read_run(run).evaluations[name] for run in (runs[0], turned))
    found = subtract(first, other)
    assert (found.points, found.p, found.samples) == (0, 1, 20)
    fewer = made(tmp_path / "fewer", [1] * 5, keys=["k15", "k16", "k17", "x", "y"])
    assert subtract(first, read_run(fewer).evaluations[name]).points == 100
    strange = made(tmp_path / "strange", [1] * 2, keys=["x", "y"])
    assert subtract(first, read_run(strange).evaluations[name]) is None


def test_the_tables(runs, tmp_path, capsys):
    third = tmp_path / "third"
    shutil.copytree(runs[0], third)
    shutil.rmtree(third / "eval")
    assert app.run(["compare", *map(str, (*runs, third))]) == 0
    out, err = capsys.readouterr()
    rows = [re.split(r"  +", line.strip()) for line in out.splitlines()]
    name = "toys-val-1x1"
    assert [name, str(runs[0]), "50.00", "29.9 to 70.1", "20"] in rows
    assert [name, str(third), "not evaluated"] in rows
    (second,) = (row for row in rows if row[:3] == [name, str(runs[1]), "75.00"])
    assert (second[5], second[7]) == ("+25.00", "0.18")
    assert [str(runs[1]), "optim.lr", "0.001", "0.002"] in rows
    assert [str(runs[1]), "30", "23%", "300 MB"] in rows
    assert err.startswith("next: ivvit report")


def test_a_terminal_has_what_can_be_compared(runs, capsys, monkeypatch):
    first, second = runs
    shutil.copytree(second / "eval" / "toys-val-1x1", second / "eval" / "toys-val-3x3")
    monkeypatch.setenv("TERM", "xterm")
    terminal = Console(file=io.StringIO(), force_terminal=True, width=80, color_system=None)
    monkeypatch.setattr(console, "out", terminal)
    with terminal.capture() as capture:
        assert app.run(["compare", str(first), str(second)]) == 0
    shown, _, _ = capture.get().partition("What the recipes differ in")
    assert re.search(r"^ first +50\.00 ", shown, re.MULTILINE)
    assert "toys-val-3x3" not in shown
    assert "evaluated for one run only: toys-val-3x3\n" in capsys.readouterr().err


def test_equal_recipes_are_told(runs, capsys):
    assert app.run(["compare", str(runs[0]), str(runs[0])]) == 0
    out, err = capsys.readouterr()
    assert "the recipes are the same" in err
    assert "+0.00" in out


def test_what_cannot_be_compared_is_one_line(runs, tmp_path, capsys):
    def fault(*args):
        code = app.run(["compare", *map(str, args)])
        out, err = capsys.readouterr()
        assert out == ""
        return code, err

    assert fault(runs[0])[0] == 2
    assert fault(runs[0], tmp_path / "none") == (
        3,
        f"error: {tmp_path}/none: no such run\nhint: ivvit train --recipe … starts a run\n",
    )
    scores = runs[1] / "eval/toys-val-1x1/scores.npz"
    scores.write_bytes(b"PK" + scores.read_bytes()[2:90])
    code, err = fault(*runs)
    assert (code, "scores.npz: cannot be read" in err) == (3, True)
    for run in runs:
        shutil.rmtree(run / "eval")
    code, err = fault(*runs)
    assert (code, f"hint: ivvit eval {runs[0]}" in err) == (3, True)


def test_a_confusion_matrix_counts_every_sample():
    scores = np.array([[3, 1, 0], [0, 2, 5], [9, 8, 7], [0, 0, 1]], np.float32)
    matrix = confusion_matrix(Scores(scores, np.array([0, 1, 1, 2]), list("abcd")))
    assert matrix.tolist() == [[1, 0, 0], [1, 0, 1], [0, 0, 1]]


def test_evaluations_of_an_earlier_checkpoint_are_told_of(runs, capsys):
    """A run may have gone on after its evaluation, or that be of its best checkpoint."""
    first, second = runs
    for run, last in ((first, "step-00000005"), (second, "step-00000008")):
        (run / "checkpoints" / last).mkdir(parents=True)
        path = run / "eval/toys-val-1x1/metrics.json"
        document = json.loads(path.read_text())
        document["protocol"]["checkpoint"] = "step-00000005"
        path.write_text(json.dumps(document))
    said = f"{second}: toys-val-1x1 is of step-00000005, but the last is step-00000008"
    for command in (["compare", str(first), str(second)], ["report", str(second)]):
        app.run(command)
        warnings = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
        assert warnings == [f"warning: {said}"]


def test_a_dataset_that_one_recipe_lacks_is_a_word_and_not_its_whole_section(runs, capsys):
    more = (runs[0] / "recipe.yaml").read_text().replace(
        "data: {", "data: {others: {shards: data/others, batch: 2}, "
    )  # fmt: skip
    (runs[0] / "recipe.yaml").write_text(more)
    assert app.run(["compare", *map(str, runs)]) == 0
    assert re.search(r"data\.others +\{…\} +null$", capsys.readouterr().out, re.MULTILINE)
