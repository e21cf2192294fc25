"""`ivvit data` as a user runs it."""

import shlex
import tracemalloc
from pathlib import Path

import layouts
import pytest
from media import make_frames, write_image
from PIL import Image

from shards.convert.dataset import convert


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Return a folder `data` with shards of images and of videos."""
    layouts.imagefolder(tmp_path / "pets")
    layouts.videofolder(tmp_path / "clips", 2)
    convert("imagefolder", tmp_path / "pets", tmp_path / "data/pets")
    convert("videofolder", tmp_path / "clips", tmp_path / "data/clips")
    return tmp_path / "data"


def test_ls_lists_the_folders_and_passes_over_others(ivvit, shards: Path) -> None:
    (shards / "notes").mkdir()
    (shards / "broken").mkdir()
    (shards / "broken/dataset.json").write_text("{")
    done = ivvit("data", "ls")
    assert done.code == 0
    assert [line.split()[0] for line in done.stdout.splitlines()] == [
        "folder",
        "data/clips",
        "data/pets",
    ]
    assert "broken" in done.stderr
    rows = ivvit("data", "ls", shards, "--json").json
    assert [(row["dataset"], row["kind"]) for row in rows] == [
        ("clips", "video"),
        ("pets", "image"),
    ]
    assert rows[1]["splits"]["val"]["samples"] == 8


def test_show_summarises_and_draws(ivvit, shards: Path) -> None:
    done = ivvit("data", "show", shards / "clips", "-n", 3)
    assert done.code == 0
    assert "classes: left hand, run" in done.stderr
    with Image.open(shards / "clips/contact-sheet.png") as sheet:
        assert sheet.width > sheet.height
        assert len(sheet.getcolors(1 << 20)) > 100
    assert ivvit("shard", "videofolder", "clips", "-o", "data/clips").code == 0
    done = ivvit("data", "show", shards / "pets", "--split", "val", "-o", "s.png", "--json")
    assert done.json["contact_sheet"] == "s.png"


def test_the_contact_sheet_holds_one_full_picture_at_a_time(ivvit_here, tmp_path: Path) -> None:
    for number, picture in enumerate(make_frames(8, 1000, 1000)):
        write_image(tmp_path / f"large/a/{number}.jpg", picture)
    convert("imagefolder", tmp_path / "large", tmp_path / "out")
    ivvit_here("data", "show", "out", "-n", 1)  # imports
    tracemalloc.start()
    assert ivvit_here("data", "show", "out").code == 0
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * 3_000_000


def test_show_names_the_splits(ivvit, shards: Path) -> None:
    done = ivvit("data", "show", shards / "pets", "--split", "test")
    assert done.code == 2
    assert "hint: use train, val" in done.stderr


def test_verify_is_quiet_about_good_shards_and_loud_about_bad(ivvit, shards: Path) -> None:
    done = ivvit("data", "verify", shards / "pets", "--json")
    assert (done.code, done.json) == (
        0,
        {"ok": True, "samples": 16, "left_out": 0, "problems": []},
    )
    (shards / "pets/pets-val-000000.tar").unlink()
    done = ivvit("data", "verify", shards / "pets", "--json")
    assert done.code == 1
    assert done.json["problems"] == [
        {"shard": "pets-val-000000.tar", "kind": "missing_shard", "detail": "no such file"}
    ]
    done = ivvit("data", "verify", shards / "pets")
    assert (done.code, "missing_shard" in done.stdout) == (1, True)


@pytest.mark.parametrize(
    ("layout", "name"), [("imagefolder", "pets"), ("videofolder", "ucf101"), ("videofolder", "x.y")]
)
def test_verify_hands_sound_shards_on_to_a_training(
    ivvit_here, tmp_path: Path, layout: str, name: str
) -> None:
    getattr(layouts, layout)(tmp_path / "media" / name, 1)
    convert(layout, tmp_path / "media" / name, tmp_path / "my shards")
    said = ivvit_here("data", "verify", "my shards").stderr
    program, *command = shlex.split(said.partition("next: ")[2])
    assert program == "ivvit"
    (trained,) = ivvit_here(*command, "--dry-run", "--json").json["datasets"].values()
    assert (trained["samples"], trained["classes"]) == (2, 2)


def test_verify_hands_what_cannot_be_trained_on_to_an_evaluation(ivvit, tmp_path: Path) -> None:
    layouts.imagefolder(tmp_path / "pets", 1, splits=("val",))
    convert("imagefolder", tmp_path / "pets", tmp_path / "my shards")
    said = ivvit("data", "verify", "my shards").stderr
    assert said.endswith("next: ivvit eval RUN --data 'pets=my shards'\n")


def test_what_verify_advises_puts_an_end_to_the_damage(ivvit, shards: Path) -> None:
    for name in ("clips-train-000000.tar", "clips-train-000000.index", "clips-train.index"):
        path = shards / "clips" / name
        data = bytearray(path.read_bytes())
        data[-1100 if name.endswith("tar") else -20] ^= 1
        path.write_bytes(data)
    hint = ivvit("data", "verify", "data/clips").stderr.partition("hint: ")[2]
    command, _, rest = hint.partition("; then the ivvit shard command")
    words = command.split()
    assert (words[0], len(words), bool(rest)) == ("rm", 4, True)
    for name in words[1:]:
        (shards.parent / name).unlink()
    assert ivvit("shard", "videofolder", "clips", "-o", "data/clips").code == 0
    assert ivvit("data", "verify", "data/clips").code == 0


@pytest.mark.parametrize("command", ["ls", "show", "verify"])
def test_a_folder_that_is_not_there_is_bad_input(ivvit, command: str) -> None:
    done = ivvit("data", command, "none")
    assert (done.code, done.stdout) == (3, "")
    assert "error: none: no such folder" in done.stderr
    assert "hint: ivvit " in done.stderr


def test_only_the_options_that_count_are_shown(ivvit, shards: Path) -> None:
    videos = ivvit("data", "show", shards / "clips", "-o", "a.png").stderr
    images = ivvit("data", "show", shards / "pets", "-o", "b.png").stderr
    assert ("quality 3" in videos, "layout mjpg" in videos) == (True, True)
    assert ("quality" in images, "layout" in images, "shard_size" in images) == (False, False, True)


@pytest.mark.parametrize("command", ["show", "verify"])
def test_the_folder_that_may_be_meant_is_named(ivvit_here, shards: Path, command: str) -> None:
    def hint(place: object) -> str:
        done = ivvit_here("data", command, place)
        assert (done.code, f"error: {place}: no such folder of shards" in done.stderr) == (3, True)
        return done.stderr.partition("hint: ")[2]

    close = "did you mean data/clips? otherwise: ivvit data ls\n"
    assert hint("clips-") == hint("data/clip") == close
    (shards / "clips").rename(shards / "cifar100")
    assert hint("data/clip") == hint("data/cifar10") == "ivvit data ls\n"
    assert hint("cifar100") == "did you mean data/cifar100? otherwise: ivvit data ls\n"
    (shards / "cifar100/dataset.json").unlink()
    assert hint("cifar100") == "ivvit data ls\n"
