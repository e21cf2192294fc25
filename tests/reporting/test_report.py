"""`ivvit report`: one page that says what the run's files say, fetches nothing, and is safe."""

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import tiny_runs

from ivvit_cli import app
from ivvit_cli.reporting.html import table, text
from ivvit_cli.reporting.svg import line_chart

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
EVIL = "<script>alert(1)</script>&\x1b[31m"


class Page(HTMLParser):
    """What a page holds: its tags with their attributes, and its text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags, self.words, self.open = [], [], []
        self.feed(path.read_text())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br", "polyline", "line", "circle"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if self.open and self.open[-1] == tag:
            self.open.pop()

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Return a folder with the run of two datasets, evaluated; a class has a hostile name."""
    root = tmp_path_factory.mktemp("report")
    tiny_runs.write_pictures(root / "pictures", ["ant", "bee", "cat"], 3)
    tiny_runs.write_films(root / "films", ["run", "walk"], 2)
    shards = {
        "toys": tiny_runs.make_shards("imagefolder", root / "pictures", root / "toys"),
        "films": tiny_runs.make_shards("videofolder", root / "films", root / "shards"),
    }
    tiny_runs.save_run(root / "run", shards)
    run = root / "run"
    (run / "recipe.yaml").write_text(
        "description: " + json.dumps(EVIL) + "\n"
        "model: {backbone: vit_tiny_patch16_224, backbone_args: {img_size: 32}}\n"
        f"data:\n  toys: {{shards: {root}/toys, batch: 2}}\n"
        f"  films: {{shards: {root}/shards, batch: 2, clip: {{sample: uniform, frames: 4}}}}\n"
        "schedule: {iterations: 20}\noptim: {lr: 1e-3}\n"
    )
    rows = [
        {"event": "train", "iteration": k, "dataset": name, "loss": 1 / k, "top1": 50.0,
         "lr": 1e-3, "clips_per_second": 40.0, "data_wait": 0.25, "memory_mb": 900, "skipped": 0}
        for k in (5, 10, 15, 20) for name in ("toys", "films")
    ]  # fmt: skip
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    start = {"time": "2026", "command": ["ivvit", EVIL], "versions": {"torch": "2"}, "machine": {}}
    (run / "environment.json").write_text(json.dumps({"starts": [start]}))
    assert app.run(["eval", str(run), "--views", "2x3"]) == 0
    return root


@pytest.fixture
def run(made, tmp_path):
    shutil.copytree(made / "run", tmp_path / "run", symlinks=True)
    return tmp_path / "run"


@pytest.fixture
def page(run):
    assert app.run(["report", str(run)]) == 0
    return Page(run / "report.html")


def test_the_page_is_whole_and_fetches_nothing(page, run):
    assert page.open == []
    assert "script" not in [tag for tag, _ in page.tags]
    links = [
        value for _, attrs in page.tags for key, value in attrs.items() if key in ("src", "href")
    ]
    assert links
    assert all(link.startswith("data:image/") for link in links)
    source = (run / "report.html").read_text()
    assert not re.search(r"https?://|url\(|@import", source)
    assert all(attrs["alt"] for tag, attrs in page.tags if tag == "img")
    assert len(source) < 500_000


def test_the_page_says_what_the_files_say(page, run):
    words = " ".join(" ".join(page.words).split())
    for name in ("toys-val-2x3", "films-val-2x3"):
        figures = json.loads((run / "eval" / name / "metrics.json").read_text())
        assert f"{figures['top1']:.2f}" in words
        assert name in words
        assert figures["protocol"]["words"] in words
    assert "40 samples per second on average, 25.0 % of the time waiting for data" in words
    start = "vit_tiny_patch16_224 (img_size 32) with temporal kind none, from random weights"
    assert start in words
    assert "sequential" in words
    labels = [attrs["aria-label"] for tag, attrs in page.tags if "aria-label" in attrs]
    assert any(label.startswith("Training loss: toys ends at 0.05") for label in labels)
    assert "walk" in words
    notes = (run / "report.md").read_text()
    assert "| toys | val |" in notes


def test_mistakes_have_their_frames(page, run):
    scores = np.load(run / "eval/films-val-2x3/scores.npz")
    wrong = int((scores["scores"].argmax(1) != scores["labels"]).sum())
    toys = np.load(run / "eval/toys-val-2x3/scores.npz")
    others = int((toys["scores"].argmax(1) != toys["labels"]).sum())
    pictures = [attrs for tag, attrs in page.tags if tag == "img" and "jpeg" in attrs["src"]]
    assert len(pictures) == 3 * wrong + others > 0


def test_without_shards_there_are_no_frames(run, made, tmp_path):
    recipe = run / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace(str(made), str(tmp_path / "gone")))
    assert app.run(["report", str(run), "-o", str(tmp_path / "new/page.html")]) == 0
    page = Page(tmp_path / "new/page.html")
    assert "The shards are not where the recipe says: without frames." in page.words
    assert not any("jpeg" in attrs.get("src", "") for _, attrs in page.tags)
    assert (tmp_path / "new/page.md").is_file()


def test_a_run_that_was_not_evaluated_has_its_curves(run):
    shutil.rmtree(run / "eval")
    assert app.run(["report", str(run)]) == 0
    assert f"ivvit eval {run}" in " ".join(Page(run / "report.html").words)


def test_hostile_text_stays_text(page):
    assert "<script>alert(1)</script>&?[31m" in page.words
    assert text("a<b>\x00") == "a&lt;b&gt;?"
    assert "<td>&lt;i&gt;</td>" in table(["x"], [["<i>"]])


def test_what_is_no_run_is_one_line(tmp_path, run, capsys):
    assert app.run(["report", str(tmp_path / "none")]) == 3
    (run / "metrics.jsonl").write_text("{")
    assert app.run(["report", str(run)]) == 3
    assert "metrics.jsonl:1: is not JSON" in capsys.readouterr().err


def test_a_chart_has_round_ticks_and_every_point():
    chart = line_chart("t", {"a": [(1, 0.1), (2, 0.9)], "b": [(1, 0.5)], "c": []}, x_label="x")
    assert re.findall(r'text-anchor="end">([^<]*)<', chart) == [
        "0",
        "0.2",
        "0.4",
        "0.6",
        "0.8",
        "1",
    ]
    assert chart.count("<polyline points") == 1 + 2  # and those of the legend
    assert chart.count("<circle") == 1
    assert ">c<" not in chart
    assert line_chart("t", {"a": []}, x_label="x") == ""
    flat = line_chart("t", {"a": [(0, 5.0), (9, 5.0)]}, x_label="x")
    assert "NaN" not in flat


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
@pytest.mark.parametrize("scheme", ["0", "1"])
def test_a_browser_shows_it_without_complaint(page, run, scheme, tmp_path):
    shot = tmp_path / "shot.png"
    command = [
        *(CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"),
        *(f"--blink-settings=preferredColorScheme={scheme}", "--window-size=600,900"),
        *(
            f"--user-data-dir={tmp_path}/profile",
            f"--screenshot={shot}",
            f"file://{run}/report.html",
        ),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0
    assert "CONSOLE" not in done.stderr
    from PIL import Image

    with Image.open(shot) as image:
        corner = image.convert("L").getpixel((2, 2))
    assert (corner < 60) == (scheme == "0")
