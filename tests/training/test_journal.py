"""What a run tells: sentences, lines and the cut of metrics.jsonl."""

import json

import pytest

from ivvit_cli import console
from ivvit_cli.training.display import Screen
from ivvit_cli.training.folder import append_metrics, cut_metrics
from ivvit_cli.training.journal import Journal
from ivvit_cli.training.progress import Best, RunProgress


def progress_at(iteration, **fields):
    progress = RunProgress(iteration=iteration, **fields)
    for name, loss in (("a", 1.5), ("b", 0.5)):
        progress.tally(name).add(samples=4, loss=loss, correct=3)
        progress.tally(name).time(2.0, 0.5)
    return progress


@pytest.mark.parametrize(("waited", "warnings"), [(0.5, 1), (0.1, 0)])
def test_loader_as_the_bottleneck_is_said_once(tmp_path, capsys, waited, warnings):
    with Screen(100) as screen:
        journal = Journal(tmp_path, screen, ["a", "b"])
        for iteration in range(1, 20):
            journal.iterated(progress_at(iteration), 0.1, seconds=1.0, waited=waited)
    assert capsys.readouterr().err.count("the loader is the bottleneck: 50% of the") == warnings
    assert tmp_path.joinpath("log.txt").read_text().count("bottleneck") == warnings


def test_lines_are_few_and_hold_the_figures(tmp_path, capsys):
    with Screen(100) as screen:
        journal = Journal(tmp_path, screen, ["a", "b"])
        for iteration in range(1, 101):
            journal.iterated(progress_at(iteration), 0.1, seconds=2.0, waited=0.0)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in lines] == ["iteration 1/100", "iteration 100/100"]
    assert "a loss 1.500 top-1 75.0 % (2/s, 25% waiting), b loss 0.500" in lines[0]
    assert lines[0].endswith("lr 1.00e-01, 0:03:18 left")


def test_a_line_every_ten_seconds_off_a_terminal(tmp_path, capsys, monkeypatch):
    clock = iter(range(1000))
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    with Screen(25) as screen:
        journal = Journal(tmp_path, screen, ["a"])
        for iteration in range(1, 26):
            journal.iterated(progress_at(iteration), 0.1, seconds=1.0, waited=0.0)
    lines = capsys.readouterr().err.splitlines()
    shown = [line.split(":")[0] for line in lines]
    assert shown == [f"iteration {number}/25" for number in (1, 11, 21, 25)]


def test_a_validation_shows_how_far_it_is(tmp_path, capsys, monkeypatch):
    clock = iter(range(1000))
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    with Screen(25) as screen:
        journal = Journal(tmp_path, screen, ["a"])
        for done in range(1, 26):
            journal.validating(5, "a", done, 25)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [f"validating a {done}/25" for done in (1, 11, 21)]


def test_quiet(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(console.settings, "quiet", True)
    with Screen(1) as screen:
        journal = Journal(tmp_path, screen, ["a"])
        journal.iterated(progress_at(1), 0.1, seconds=2.0, waited=0.0)
    assert capsys.readouterr().err == ""
    assert "iteration 1/1" in tmp_path.joinpath("log.txt").read_text()


def test_terminal_shows_a_table(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")  # on a dumb one rich paints only the last state
    monkeypatch.setattr(console.err, "_force_terminal", True)
    monkeypatch.setattr(console.err, "is_interactive", True)
    monkeypatch.setattr("ivvit_cli.training.display._TERMINAL_PERIOD", 0.0)
    with Screen(10) as screen:
        journal = Journal(tmp_path, screen, ["a", "b"])
        journal.iterated(progress_at(1), 0.1, seconds=2.0, waited=0.0)
        journal.validating(1, "b", 3, 9)
        figures = {"split": "val", "protocol": "centre crop, 32 px", "samples": 9, "top1": 12.345}
        journal.validated(1, {"a": figures})
    shown = capsys.readouterr().err
    assert "clips/s" in shown
    assert "12.35" in shown
    assert "validating b 3/9" in shown
    assert (
        "a val top-1 12.35 % (centre crop, 32 px, 9 samples)"
        in tmp_path.joinpath("log.txt").read_text()
    )


def test_cut_forgets_what_came_after(tmp_path):
    rows = [("train", 2), ("eval", 2), ("train", 4), ("eval", 4), ("train", 6)]
    lines = [{"event": event, "iteration": iteration} for event, iteration in rows]
    append_metrics(tmp_path, lines)
    with tmp_path.joinpath("metrics.jsonl").open("a") as file:
        file.write('{"event": "train", "itera')
    cut_metrics(tmp_path, RunProgress(iteration=4, validated=2))
    left = tmp_path.joinpath("metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in left] == lines[:3]


def test_progress_survives_as_plain_values():
    progress = progress_at(7, validated=4, best={"a": Best(50.0, 4)})
    progress.guard.admit("a", False)
    assert RunProgress.restored(json.loads(json.dumps(progress.state()))) == progress


def test_best_is_the_first_of_equals():
    progress = RunProgress(iteration=2)
    assert progress.improve("a", 50.0)
    progress.iteration = 4
    assert not progress.improve("a", 50.0)
    assert progress.improve("a", 50.1)
    assert progress.best == {"a": Best(50.1, 4)}
