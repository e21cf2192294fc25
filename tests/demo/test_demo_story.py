"""The demo's story: from files to predictions, and why a frame-wise model stops at one half."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ivvit_cli import app
from ivvit_cli.config import load_recipe
from ivvit_cli.demo.datasets import DATASETS, ORDER
from ivvit_cli.demo.story import COMMANDS, FOLDER, StepFailed, Tour, clear
from ivvit_cli.errors import InputError
from ivvit_cli.models import build_model

FEW = tuple(replace(dataset, per_class={"train": 3, "val": 1}) for dataset in DATASETS)


def order_scores(recipe: str, clips: torch.Tensor) -> torch.Tensor:
    """Return the scores (B, C) of a recipe's model on clips (B, T, 3, H, W)."""
    torch.manual_seed(0)
    model = build_model(load_recipe(recipe).model.model_dump(), {ORDER.name: len(ORDER.classes)})
    with torch.no_grad():
        return model.eval()(clips, ORDER.name)


@pytest.fixture
def clips() -> torch.Tensor:
    frames = np.stack([ORDER.sample("val", label, 0, 0)[1::3, ::2, ::2] for label in range(6)])
    return torch.from_numpy(frames).permute(0, 1, 4, 2, 3).float() / 127.5 - 1  # (B, T, 3, H, W)


def test_a_frame_wise_model_scores_a_clip_as_the_clip_played_backwards(clips: torch.Tensor) -> None:
    forwards = order_scores("demo-framewise", clips)
    torch.testing.assert_close(forwards, order_scores("demo-framewise", clips.flip(1)))
    assert (forwards[0] - forwards[3]).abs().max() > 1e-3


def test_token_shift_scores_a_clip_unlike_the_clip_played_backwards(clips: torch.Tensor) -> None:
    difference = order_scores("demo", clips) - order_scores("demo", clips.flip(1))
    assert difference.abs().max() > 1e-3


def test_the_two_recipes_differ_only_in_how_frames_meet() -> None:
    joint, framewise = (load_recipe(name).model_dump() for name in ("demo", "demo-framewise"))
    assert joint["model"].pop("temporal")["kind"] == "token_shift"
    assert framewise["model"].pop("temporal") == {"kind": "none"}
    del joint["description"], framewise["description"]
    assert joint == framewise


def test_the_recipe_reads_what_the_demo_writes() -> None:
    data = load_recipe("demo").data
    assert list(data) == [dataset.name for dataset in DATASETS]
    for name, section in data.items():
        assert section.shards == f"{FOLDER}/data/{name}"
    clip = data[ORDER.name].clip
    assert clip is not None
    assert (clip.sample, clip.frames) == ("uniform", 8)


def test_the_whole_story(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Tour(Path("a tour"), app.run, iterations=2, datasets=FEW).tell()
    text, _ = capsys.readouterr()
    commands = Path("a tour", COMMANDS).read_text().splitlines()[1:]
    assert all(f"\n$ {command}\n" in text for command in commands)
    assert [command.split()[1 + ("-q" in command)] for command in commands] == [
        *(["shard"] * 4 + ["train", "eval", "train"]),
        *(["eval"] * 4 + ["predict"] * 2 + ["compare", "report"]),
    ]
    assert "order-val-1x1" in Path("a tour/runs/joint/report.html").read_text()
    seen = [top1(Path("a tour/runs/framewise"), split) for split in ("train", "val")]
    assert max(seen) <= 50
    assert f"\njoint, frame-wise  {seen[0]:.1f} %" in text
    for name in ("joint", "framewise"):
        lines = Path("a tour/runs", name, "metrics.jsonl").read_text().splitlines()
        assert any(json.loads(line).get("iteration") == 2 for line in lines)


def top1(run: Path, split: str) -> float:
    document = json.loads((run / "eval" / f"order-{split}-1x1" / "metrics.json").read_text())
    return float(document["top1"])


def test_a_step_that_fails_ends_the_story_with_its_exit_code(tmp_path: Path) -> None:
    tour = Tour(tmp_path / "demo", lambda args: 4, datasets=())
    clear(tour.folder)
    with pytest.raises(StepFailed, match=r"`ivvit -q data ls`") as caught:
        tour.step("data", "ls")
    assert caught.value.exit_code == 4


def test_only_a_folder_of_an_earlier_demo_is_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    clear(folder)
    (folder / "media").mkdir()
    (folder / "notes.txt").touch()
    clear(folder)
    assert sorted(path.name for path in folder.iterdir()) == [COMMANDS, "notes.txt"]


@pytest.mark.parametrize("content", ["file", "folder"])
def test_what_somebody_else_has_made_is_left_alone(tmp_path: Path, content: str) -> None:
    place = tmp_path / "mine"
    (place if content == "file" else place / "media").parent.mkdir(exist_ok=True)
    (place if content == "file" else place / "media").touch()
    with pytest.raises(InputError, match="holds no demo"):
        clear(place)
    assert place.is_file() or (place / "media").is_file()


def test_the_command_refuses_such_a_folder(ivvit: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "demo").write_text("mine")
    done = ivvit("demo")
    assert done.code == 3
    assert done.stdout == ""
    assert "demo: is there already" in done.stderr
