"""`ivvit recipe`: list, show, copy, check."""

import io
import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import Result
from media import write_image
from rich.console import Console
from tiny_runs import MODEL, make_shards, save_run, write_pictures

from ivvit_cli import app, console
from ivvit_cli.config import load_recipe

Ivvit = Callable[..., Result]


def test_ls_lists_what_is_shipped(ivvit: Ivvit) -> None:
    entries = {entry["name"]: entry for entry in ivvit("recipe", "ls", "--json").json}
    assert entries["iv-vit-images"]["datasets"] == ["tiny-imagenet", "cifar100"]
    assert entries["iv-vit"]["temporal"] == "token_shift"
    assert all(entry["description"] for entry in entries.values())


def test_show_prints_what_load_recipe_reads(ivvit: Ivvit, tmp_path: Path) -> None:
    done = ivvit("recipe", "show", "iv-vit-videos", "optim.lr=3e-5")
    (tmp_path / "shown.yaml").write_text(done.stdout)
    assert load_recipe(str(tmp_path / "shown.yaml")) == load_recipe(
        "iv-vit-videos", ["optim.lr=3e-5"]
    )
    document = ivvit("recipe", "show", "iv-vit-videos", "optim.lr=3e-5", "--json").json
    assert document == load_recipe("iv-vit-videos", ["optim.lr=3e-5"]).model_dump(mode="json")


def test_show_raw_prints_the_file(ivvit: Ivvit, tmp_path: Path) -> None:
    ivvit("recipe", "cp", "iv-vit-images", "copy.yaml")
    raw = ivvit("recipe", "show", "iv-vit-images", "--raw").stdout
    assert raw == (tmp_path / "copy.yaml").read_text()
    assert "extends: iv-vit" in raw
    assert ivvit("recipe", "show", "iv-vit", "--raw", "optim.lr=1").code == 2


def test_a_copy_is_usable_and_never_overwrites(ivvit: Ivvit, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    assert ivvit("recipe", "cp", "iv-vit", "folder").stdout == "folder/iv-vit.yaml\n"
    assert load_recipe(str(tmp_path / "folder/iv-vit.yaml")) == load_recipe("iv-vit")
    again = ivvit("recipe", "cp", "iv-vit", "folder")
    assert (again.code, again.stdout) == (2, "")
    assert "exists already" in again.stderr
    assert ivvit("recipe", "cp", "iv-vit", "nowhere/x.yaml").code == 3


def test_check_says_what_it_checked(ivvit_here: Ivvit) -> None:
    document = ivvit_here("recipe", "check", "iv-vit-small", "--json").json
    arguments = load_recipe("iv-vit-small").model.backbone_args
    assert document["model"]["size"] == arguments["img_size"]
    # A block has 12 x width² weights: 4 in the attention, 8 in the MLP. The rest is little.
    blocks = 12 * arguments["embed_dim"] ** 2 * arguments["depth"]
    assert blocks < document["model"]["parameters"] < 1.2 * blocks
    assert {found["state"] for found in document["datasets"].values()} == {"no shards yet"}
    assert document["weights"] == {"state": "good", "detail": "random"}
    table = ivvit_here("recipe", "check", "iv-vit", "optim.lr=1")
    assert table.code == 0
    assert "85.8 M parameters, 224 px" in table.stdout
    assert "not there yet" in table.stdout
    assert "before training: ivvit shard ucf101 SRC -o data/ucf101\n" in table.stderr
    assert "before training: weights/tokshift-k400.pth: github.com/VideoNetworks" in table.stderr
    assert "next:" not in table.stderr
    ready = ivvit_here("recipe", "check", "iv-vit", "--ready")
    assert (ready.code, ready.stdout != "") == (4, True)
    assert "error: iv-vit cannot be trained yet: 5 not there\n" in ready.stderr
    assert ivvit_here("recipe", "check", "iv-vit", "--json").json["ready"] is False


@pytest.mark.parametrize(
    ("override", "error"),
    [
        ("optim.lrr=1", "override `optim.lrr=1`: optim.lrr: unknown key — did you mean 'lr'?"),
        ("model.backbone=vit_tny_patch16_224", "backbone vit_tny_patch16_224"),
        ("model.backbone_args.dpth=3", "backbone vit_tiny_patch16_224"),
    ],
)
def test_check_finds_what_is_wrong(ivvit_here: Ivvit, override: str, error: str) -> None:
    done = ivvit_here("recipe", "check", "iv-vit-small", override)
    assert (done.code, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {error}")


@pytest.mark.parametrize(
    ("overrides", "error"),
    [
        (["input.size=96"], "input.size is 96, but vit_tiny_patch16_224 takes"),
        (["schedule={iterations: null, epochs: 3}"], "schedule.epochs=3.0ep: epochs count only"),
        (["checkpoint.every=1ep"], "checkpoint.every=1ep: epochs count only"),
    ],
)
def test_check_finds_what_train_would_refuse(
    ivvit_here: Ivvit, overrides: list[str], error: str
) -> None:
    done = ivvit_here("recipe", "check", "iv-vit-small", *overrides)
    assert (done.code, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {error}")


def test_check_names_the_layout_of_one_s_own_data(ivvit_here: Ivvit) -> None:
    photos = "data.a={shards: a b, batch: 1}"
    clips = "data.b={shards: b, batch: 1, clip: {sample: uniform}}"
    done = ivvit_here("recipe", "check", "iv-vit-small", photos, clips)
    assert "ivvit shard imagefolder SRC -o 'a b'\n" in done.stderr
    assert "ivvit shard videofolder SRC -o b\n" in done.stderr


def test_shards_of_a_close_name_are_named_first(ivvit_here: Ivvit, tmp_path: Path) -> None:
    make_shards("imagefolder", _pictures(tmp_path), tmp_path / "data/my-photos")
    others = ("data.cifar100=null", "data.tiny-imagenet=null", "data.ucf101=null")
    own = ("iv-vit-small", *others, "data.a={shards: data/my-photo, batch: 1}")
    make = "ivvit shard imagefolder SRC -o data/my-photo"
    meant = "did you mean data/my-photos? otherwise: "
    checked = ivvit_here("recipe", "check", *own)
    assert checked.stderr == f"before training: {meant}{make}\n"
    trained = ivvit_here("train", "--recipe", *own)
    assert (trained.code, f"hint: {meant}make them: {make}; or say" in trained.stderr) == (3, True)


def test_check_suggests_training_when_it_can_start(ivvit_here: Ivvit, tmp_path: Path) -> None:
    make_shards("imagefolder", _pictures(tmp_path), tmp_path / "data/cifar100")
    others = ("data.cifar100.split=val", "data.ucf101=null", "data.tiny-imagenet=null")
    done = ivvit_here("recipe", "check", "iv-vit-small", *others)
    plan = f"ivvit train --recipe iv-vit-small --dry-run {' '.join(others)}"
    assert done.stderr == f"next: {plan}\n"
    training = ivvit_here(*shlex.split(plan)[1:]).stderr
    assert training == f"next: ivvit train {' '.join(others)} --recipe iv-vit-small\n"
    elsewhere = ivvit_here(*shlex.split(plan)[1:], "--gpus", 8)
    assert (elsewhere.code, elsewhere.stderr) == (0, "")


def test_a_suggested_command_can_be_pasted(ivvit_here: Ivvit, tmp_path: Path) -> None:
    make_shards("imagefolder", _pictures(tmp_path), tmp_path / "data/cifar100")
    others = "data: {cifar100: {split: val}, ucf101: null, tiny-imagenet: null}\n"
    (tmp_path / "my recipe.yaml").write_text(f"extends: iv-vit-small\n{others}")
    done = ivvit_here("recipe", "check", "my recipe.yaml", "optim.lr=1e-3")
    assert done.stderr == "next: ivvit train --recipe 'my recipe.yaml' --dry-run optim.lr=1e-3\n"
    done = ivvit_here("train", "--recipe", "my recipe.yaml", "--dry-run", "--run", "my run")
    assert done.stderr == "next: ivvit train --recipe 'my recipe.yaml' --run-dir 'my run'\n"


def test_check_lets_epochs_stand_where_one_dataset_is_trained(ivvit_here: Ivvit) -> None:
    one = ("data.ucf101=null", "data.tiny-imagenet=null")
    epochs = ("schedule={iterations: null, epochs: 3}", "checkpoint.every=1ep")
    assert ivvit_here("recipe", "check", "iv-vit-small", *one, *epochs).code == 0


def test_check_takes_the_weights_that_train_would_take(ivvit_here: Ivvit, tmp_path: Path) -> None:
    def check(weights: str, *overrides: str) -> Result:
        words = (f"model={json.dumps(MODEL)}", f"model.weights={weights}", *overrides)
        return ivvit_here("recipe", "check", "iv-vit-small", *words, "--json")

    pictures = make_shards("imagefolder", _pictures(tmp_path), tmp_path / "pictures.shards")
    file = save_run(tmp_path / "r", {"p": pictures}) / "model.safetensors"
    for source in ("r", "r@step-20", "r@best-p", str(file)):
        found = check(source).json["weights"]
        assert found["state"] == "good"
        assert found["detail"].startswith(f"{source} (ivvit): 30 of 30 ")
    absent = check("none.pth").json["weights"]
    assert (absent["state"], absent["detail"]) == ("not there yet", "none.pth")
    assert "model.weights=" in absent["hint"]
    assert check("hf:a/b").json["weights"]["detail"] == "hf:a/b, fetched when training starts"
    assert check("r@step-21").code == 3
    assert check("r", "model.backbone_args.depth=3").code == 3
    file.write_bytes(file.read_bytes()[:-1])
    assert check("r").code == 3


def _pictures(folder: Path) -> Path:
    write_pictures(folder / "pictures", ["a", "b"], 1)
    return folder / "pictures"


def test_check_places_every_fault_of_a_file(ivvit_here: Ivvit, tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_text("extends: iv-vit\noptim:\n  wieght_decay: 1\n  lr: x\n")
    done = ivvit_here("recipe", "check", "my.yaml")
    assert done.code == 2
    assert "error: my.yaml:3: optim.wieght_decay: unknown key" in done.stderr
    assert "error: my.yaml:4: optim.lr: must be a number, not 'x'" in done.stderr


def test_check_opens_the_shards_that_exist(ivvit_here: Ivvit, tmp_path: Path) -> None:
    (tmp_path / "data/cifar100").mkdir(parents=True)
    done = ivvit_here("recipe", "check", "iv-vit-small")
    assert (done.code, done.stdout) == (3, "")
    assert "data/cifar100" in done.stderr


def test_check_holds_a_recipe_against_its_shards(ivvit_here: Ivvit, tmp_path: Path) -> None:
    for split, name in (("train", "a"), ("train", "b"), ("val", "a")):
        folder = tmp_path / "pictures" / split / name
        folder.mkdir(parents=True)
        write_image(folder / "1.png", np.zeros((8, 8, 3), np.uint8))
    assert ivvit_here("shard", "imagefolder", "pictures", "-o", "data/cifar100").code == 0
    document = ivvit_here("recipe", "check", "iv-vit-small", "--json").json
    assert document["datasets"]["cifar100"] == {
        "state": "good",
        "detail": "2 images in 'train', 2 classes",
        "classes": 2,
    }
    done = ivvit_here("recipe", "check", "iv-vit-small", "data.cifar100.split=trian")
    assert (done.code, done.stdout) == (3, "")
    assert "trian" in done.stderr
    clip = "data.cifar100.clip={sample: uniform}"
    done = ivvit_here("recipe", "check", "iv-vit-small", clip)
    assert (done.code, done.stdout) == (2, "")
    assert "data.cifar100: has a `clip`" in done.stderr


def test_a_narrow_terminal_has_names_and_what_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    for width, columns in ((80, 2), (160, 4)):
        terminal = Console(file=io.StringIO(), force_terminal=True, width=width, color_system=None)
        monkeypatch.setattr(console, "out", terminal)
        with terminal.capture() as capture:
            assert app.run(["recipe", "ls", "iv-vit"]) == 0
        head = capture.get().splitlines()[2]
        assert len(re.split(" {2,}", head.strip())) == columns
