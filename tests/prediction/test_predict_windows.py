"""`ivvit predict --window`, its lines, its csv, its picture, and names on stdin."""

import csv
import io
import json
import os
import subprocess
import sys

import pytest
import tiny_runs
import torch
from conftest import clean_environment
from media import write_image, write_video

from ivvit_cli.prediction import runner
from ivvit_cli.prediction.files import find_media, read_names
from ivvit_cli.prediction.heads import make_heads
from ivvit_cli.prediction.windows import Windows
from ivvit_cli.runs import load_model
from shards.errors import UsageError
from shards.stream.views import Views

SPANS = [(0.0, 1.0), (0.5, 1.5), (1.0, 2.0), (1.5, 2.5), (2.0, 3.0), (2.5, 3.25)]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("windows")
    tiny_runs.write_pictures(root / "pictures", ["ant", "bee"], 1)
    tiny_runs.write_films(root / "films", ["run", "walk", "swim"], 1)
    shards = {
        "toys": tiny_runs.make_shards("imagefolder", root / "pictures", root / "toys"),
        "films": tiny_runs.make_shards("videofolder", root / "films", root / "shards"),
    }
    tiny_runs.save_run(root / "run", shards)
    media = root / "media"
    write_video(media / "a.mp4", tiny_runs.film(39, 48, 64, 3), 12)
    write_image(media / "b.png", tiny_runs.picture(40, 40, 1))
    (media / "c.mp4").write_bytes((media / "a.mp4").read_bytes()[:900])
    return root


@pytest.fixture
def run(made, ivvit_here):
    def call(*words):
        options = ("--ckpt", made / "run", "--device", "cpu")
        return ivvit_here("-q", "predict", *words, *options)

    return call


WINDOWS = ("--window", 1, "--hop", 0.5)


def test_a_line_of_json_for_each_window_and_each_file(made, run):
    done = run(made / "media", *WINDOWS, "--jsonl", "--top", 1, "--head", "films")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    spans = [(line.get("start"), line.get("end")) for line in lines]
    assert spans == [*SPANS, (None, None), (None, None)]
    assert [line["kind"] for line in lines] == ["video"] * 6 + ["image", "video"]
    assert [len(line["heads"]["films"]) for line in lines[:-1]] == [1] * 7
    assert done.code == 3
    assert done.stderr == f"error: {lines[-1]['error']}\n"
    assert "c.mp4: is cut short or damaged" in lines[-1]["error"]


def test_json_puts_a_video_together(made, run):
    done = run(made / "media", *WINDOWS, "--json")
    video, image, bad = json.loads(done.stdout)
    assert list(video) == ["input", "kind", "window", "hop", "windows", "segments"]
    assert [(each["start"], each["end"]) for each in video["windows"]] == SPANS
    assert list(video["segments"]) == list(video["windows"][0]["heads"]) == ["films", "toys"]
    for name, segments in video["segments"].items():
        assert (segments[0]["start"], segments[-1]["end"]) == (0, 3.25)
        assert sum(each["windows"] for each in segments) == 6
        first = video["windows"][0]["heads"][name][0]["label"]
        assert segments[0]["label"] == first
    assert list(image) == ["input", "kind", "heads"]
    assert list(bad) == ["input", "kind", "error"]


def test_csv_has_a_row_for_each_label(made, run):
    done = run(made / "media/a.mp4", made / "media/b.png", *WINDOWS, "--csv", "--top", 2)
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert list(rows[0]) == ["file", "start", "end", "head", "rank", "label", "score"]
    assert len(rows) == (6 + 1) * 2 * 2
    assert rows[0]["start"] == "0.0"
    assert rows[-1]["start"] == ""
    assert [row["rank"] for row in rows[:4]] == ["1", "2", "1", "2"]
    assert done.code == 0


def test_the_table_has_segments_and_the_plot_is_drawn(made, run, tmp_path):
    done = run(made / "media/a.mp4", *WINDOWS, "--plot", "a.svg", "--head", "films")
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["file", "head", "from", "to", "label", "score"]
    assert lines[1].split()[2] == "0:00.0"
    assert lines[-1].split()[3] == "0:03.2"
    assert "a.mp4 · films" in (tmp_path / "a.svg").read_text()


def test_without_windows_files_come_line_by_line_too(made, run):
    done = run(made / "media", "--jsonl", "--head", "films")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [list(line)[2] for line in lines] == ["heads", "heads", "error"]
    assert done.code == 3


def test_names_on_stdin(made):
    names = f"{made / 'media/b.png'}\n\nnosuch\x1b[31m\n{'x' * 5000}\n"
    done = subprocess.run(
        [sys.executable, "-m", "ivvit_cli", "predict", "-", "--ckpt", made / "run", "--csv"],
        input=names.encode() + b"\xff.png\n", capture_output=True, env=clean_environment(),
        cwd=made, timeout=300,
    )  # fmt: skip
    assert done.returncode == 3
    assert done.stdout.count(b"b.png") == 2 + 3  # classes
    errors = done.stderr.decode().splitlines()
    assert [error.split(": ")[-1] for error in errors] == [
        "no such file", "File name too long", "no such file",
    ]  # fmt: skip
    assert r"nosuch\x1b[31m" in errors[0]
    assert r"\udcff.png" in errors[2]


def test_names_that_end_with_nul_may_hold_anything():
    names = read_names(io.BytesIO(b"a\nb.png\0\xffc.mp4\0"))
    assert [os.fsencode(name) for name in names] == [b"a\nb.png", b"\xffc.mp4"]
    with pytest.raises(UsageError, match="no file is named on stdin"):
        read_names(io.BytesIO(b"\n\n"))


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (("--window", "0"), "--window 0: not a number of seconds"),
        (("--window", "nan"), "--window nan: not a number"),
        (("--window", "1", "--hop", "inf"), "--hop inf: not a number"),
        (("--hop", "1"), "--hop and --plot need --window"),
        (("--plot", "a.svg"), "--hop and --plot need --window"),
        (("--window", "1", "--plot", "a.png"), "does not end in .svg"),
        (("--json", "--csv"), "choose one"),
    ],
)
def test_usage(made, run, words, fault):
    done = run(made / "media/b.png", *words)
    assert (done.code, done.stdout) == (2, "")
    assert fault in done.stderr


def test_a_plot_without_a_place_or_a_window(made, run, tmp_path):
    done = run(made / "media/b.png", "--window", 1, "--plot", "nowhere/a.svg")
    assert done.code == 3
    assert "its folder does not exist" in done.stderr
    done = run(made / "media/b.png", "--window", 1, "--plot", "a.svg")
    assert done.code == 0
    assert "a.svg: not written" in done.stderr
    assert not (tmp_path / "a.svg").exists()


@pytest.mark.parametrize(
    ("batch", "patience"),
    [(4, 1e9), (1000, 0.0)],  # the image's pass fills only at the end; so do all
)
def test_a_prediction_does_not_wait_for_all_that_follow(made, monkeypatch, batch, patience):
    monkeypatch.setattr(runner, "_PATIENCE", patience)
    model, meta = load_model(made / "run/checkpoints/step-00000020", "cpu")
    heads = make_heads({name: head.model_dump() for name, head in meta.heads.items()})
    image, video = made / "media/b.png", made / "media/a.mp4"
    files = find_media([image, *[video] * 9])[0]
    predictions = runner.predict(
        model, files, heads, views=Views(1, 1), **meta.input.model_dump(), batch=batch,
        windows=Windows(1, 0.5), device="cpu",
    )  # fmt: skip
    passes = []
    hook = model.encoder.register_forward_hook(lambda *_: passes.append(1))
    assert next(predictions).path == image
    early = len(passes)
    assert torch.is_grad_enabled()
    rest = list(predictions)
    hook.remove()
    assert early < len(passes) / 2
    assert [each.span for each in rest] == SPANS * 9
    assert all(each.scores.keys() == {"toys", "films"} for each in rest)
