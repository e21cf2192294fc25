"""`ivvit data index` as a user runs it, and what the other commands make of the folder."""

import json
from pathlib import Path

import pytest
from foreign_tars import clips, images, plain_files, write_shards, write_tar

RECIPE = """
model:
  backbone: vit_tiny_patch16_224
  backbone_args: {img_size: 16, patch_size: 8, embed_dim: 16, depth: 1, num_heads: 2}
  temporal: {kind: token_shift, fold_div: 4}
data:
  pictures: {shards: pictures, batch: 4, augment: {crop: none}}
  films:
    shards: films
    batch: 2
    clip: {sample: window, frames: 2, seconds: 0.2}
    augment: {crop: none}
schedule: {kind: sequential, iterations: 2}
optim: {name: adamw, lr: 1e-3}
eval: {views: 1x1, every: 2}
"""


@pytest.fixture
def tars(tmp_path: Path) -> Path:
    """Return a folder `pictures` with tars of images."""
    write_shards(tmp_path / "pictures/p-train-%04d.tar", images(9))
    write_shards(tmp_path / "pictures/p-val-%04d.tar", images(4, first=100))
    return tmp_path / "pictures"


def test_it_says_what_it_found_and_what_comes_next(ivvit, tars: Path) -> None:
    done = ivvit("data", "index", "pictures")
    assert done.code == 0
    assert done.stdout.splitlines() == [
        "split  samples  tars  size",
        "train        9     3  0.1 MB",
        "val          4     1  0.0 MB",
    ]
    assert done.stderr.splitlines() == [
        "13 indexed, 0 left out; index in pictures",
        "next: ivvit data show pictures",
    ]
    again = ivvit("data", "index", "pictures", "--json")
    assert "walked before: 4 tars" in ivvit("data", "index", "pictures").stderr
    document = again.json
    assert (document["kind"], document["written"], document["skipped"]) == ("image", 13, 0)
    assert document["splits"]["train"]["shards"] == 3


def test_the_other_commands_take_the_folder(ivvit_here, tars: Path) -> None:
    assert ivvit_here("data", "index", "pictures").code == 0
    assert ivvit_here("data", "ls", ".", "--json").json[0]["folder"] == "pictures"
    shown = ivvit_here("data", "show", "pictures")
    assert (shown.code, "tars of others, indexed by ivvit" in shown.stderr) == (0, True)
    assert (tars / "contact-sheet.png").is_file()
    assert ivvit_here("data", "verify", "pictures", "--json").json == {
        "ok": True,
        "samples": 13,
        "left_out": 0,
        "problems": [],
    }
    assert ivvit_here("data", "index", "pictures").code == 0  # the sheet is no obstacle


def test_a_damaged_tar_is_to_be_fetched_and_indexed_again(ivvit_here, tars: Path) -> None:
    tar = tars / "p-val-0000.tar"
    tar.write_bytes(tar.read_bytes()[:-3000])
    assert ivvit_here("data", "index", "pictures").code == 0
    sound = ivvit_here("data", "verify", "pictures")
    assert (
        sound.code,
        "left out when it was made: 1, see pictures/skipped.jsonl" in sound.stderr,
    ) == (0, True)
    tar = tars / "p-train-0000.tar"
    tar.write_bytes(tar.read_bytes()[:-3000])
    damaged = ivvit_here("data", "verify", "pictures")
    assert damaged.code == 1
    assert "hint: fetch damaged tars again, then ivvit data index pictures\n" in damaged.stderr


def test_a_forecast_writes_nothing(ivvit_here, tars: Path) -> None:
    before = sorted(tars.iterdir())
    done = ivvit_here("data", "index", "pictures", "--dry-run")
    assert (done.code, done.stdout.splitlines()[1]) == (0, "train     3  0.1 MB")
    assert ivvit_here("data", "index", "pictures", "--dry-run", "--json").json["splits"] == {
        "train": {"shards": 3, "bytes": sum(path.stat().st_size for path in tars.glob("*train*"))},
        "val": {"shards": 1, "bytes": (tars / "p-val-0000.tar").stat().st_size},
    }
    assert sorted(tars.iterdir()) == before


def test_what_is_left_out_is_told_and_can_end_it(ivvit_here, tars: Path) -> None:
    write_tar(tars / "p-train-9.tar", [("a\x1b[31m.jpg", b""), ("b.jpg", b""), *plain_files(1)])
    (tars / "p-val-9.tar").write_bytes(b"no tar")
    done = ivvit_here("data", "index", "pictures")
    assert done.code == 0
    assert done.stderr.splitlines()[:4] == [
        "note: 1 of 6 tars left out as a whole: damaged",
        "left out: p-train-9.tar:a\\x1b[31m: its name holds characters that control a terminal, "
        "or a line break",
        "left out: p-train-9.tar:b: has no label: no .cls, no .txt, none in .json",
        "left out: p-val-9.tar: ends at byte 6, without the mark of its end",
    ]
    rows = (tars / "skipped.jsonl").read_text().splitlines()
    assert [json.loads(row)["split"] for row in rows] == ["train", "train", "val"]
    done = ivvit_here("data", "index", "pictures", "--on-bad", "fail")
    assert (done.code, done.stdout) == (3, "")
    assert done.stderr.startswith("error: pictures/p-train-9.tar:a\\x1b[31m: its name holds")


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (("none",), 3, "none: no such folder"),
        (("pictures", "--split", "train"), 2, "use NAME=PATTERN"),
        (("pictures", "--split", "x=y*"), 2, "no tar fits y*"),
        (("pictures", "--fps", "0"), 2, "fps 0: must be above 0"),
        (("pictures", "--name", "a/b"), 2, "name a/b: use letters"),
        (("pictures", "--classes", "none.txt"), 3, "none.txt: cannot be read"),
        (("pictures", "-o", "pictures/in"), 3, "pictures/in: lies within pictures"),
    ],
)
def test_faults_are_one_line(ivvit_here, tars: Path, args, code: int, message: str) -> None:
    done = ivvit_here("data", "index", *args)
    assert (done.code, done.stdout) == (code, "")
    assert done.stderr.startswith("error: ")
    assert message in done.stderr.splitlines()[0]
    assert {path.suffix for path in tars.iterdir()} == {".tar"}


def test_a_run_trains_and_evaluates_on_it(ivvit_here, tars: Path, tmp_path: Path) -> None:
    write_shards(tmp_path / "far/v-train-%d.tar", clips(5))
    write_shards(tmp_path / "far/v-val-%d.tar", clips(2))
    assert ivvit_here("data", "index", "pictures").code == 0
    assert ivvit_here("data", "index", "far", "-o", "films", "--name", "films").code == 0
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    done = ivvit_here("train", "--recipe", "recipe.yaml", "--run", "run", "--json")
    assert done.code == 0, done.stderr
    done = ivvit_here("eval", "run", "--json")
    assert done.code == 0, done.stderr
    assert {"pictures", "films"} <= set(json.dumps(done.json).replace('"', " ").split())
