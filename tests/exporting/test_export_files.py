"""Checkpoints and plain tensors, whole or of some datasets; what fails leaves nothing."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from exported import CLIP, IMAGE, MEAN, STD, VIDEO, save_model
from safetensors import safe_open
from safetensors.torch import load_file

from ivvit_cli.errors import EnvironmentFault, InputError, UsageError
from ivvit_cli.exporting.card import write_card
from ivvit_cli.exporting.checkpoint import export_checkpoint
from ivvit_cli.exporting.folder import new_folder
from ivvit_cli.exporting.hugging_face import export_hugging_face
from ivvit_cli.exporting.tensors import export_tensors
from ivvit_cli.meta import ScoreMeta
from ivvit_cli.models import build_model, load_weights
from ivvit_cli.runs import digest_file, load_model, read_meta

OWN = {"kind": "adaptformer", "width": 8, "adapters": "per-dataset"}


def test_tensors(ivvit_here: Any, tmp_path: Path) -> None:
    model, _ = save_model(tmp_path / "run", {"kind": "msca"})
    command = ["model", "export", "run", "-o", "w.safetensors", "--format", "safetensors"]
    done = ivvit_here(*command)
    assert (done.code, "w.safetensors" in done.stdout) == (0, True)
    assert "next: ivvit train --recipe RECIPE model.weights=w.safetensors" in done.stderr
    tensors, own = load_file("w.safetensors"), model.state_dict()
    assert tensors.keys() == own.keys()
    assert all(torch.equal(tensors[name], own[name]) for name in own)
    assert ivvit_here(*command).code == 2  # it is there already


def test_the_note_of_tensors_builds_their_model(tmp_path: Path) -> None:
    model, checkpoint = save_model(tmp_path / "run", {"kind": "token_shift"})
    export_tensors(checkpoint, tmp_path / "w.safetensors")
    with safe_open(tmp_path / "w.safetensors", "pt") as file:
        note = json.loads(file.metadata()["ivvit"])
    heads = {name: len(classes) for name, classes in note["classes"].items()}
    net = build_model(note["model"], heads).eval()
    net.load_state_dict(load_file(tmp_path / "w.safetensors"))
    x = torch.randn(1, 3, 3, 16, 16)
    assert torch.equal(net(x, "ucf"), model(x, "ucf"))
    assert note["input"] == {"size": 16, "mean": list(MEAN), "std": list(STD)}
    assert note["clips"] == {"ucf": CLIP, "pets.v1": None}


def test_tensors_are_weights_for_another_model(tmp_path: Path) -> None:
    model, checkpoint = save_model(tmp_path / "run")
    export_tensors(checkpoint, tmp_path / "w.safetensors")
    other, _ = save_model(tmp_path / "other", None, (("mine", ["Dog", "cat"]),))
    before = other.heads["mine"].linears[0].bias.detach().clone()
    report = load_weights(other, str(tmp_path / "w.safetensors"), classes={"mine": ["Dog", "cat"]})
    assert (report.share, report.format, report.heads) == (1, "ivvit", ("mine",))
    after, theirs = other.heads["mine"].linears[0].bias, model.heads["pets%2Ev1"].linears[0].bias
    assert torch.equal(after, theirs.flip(0))
    assert not torch.equal(after, before)


def test_a_part_of_a_checkpoint(tmp_path: Path) -> None:
    model, checkpoint = save_model(tmp_path / "run", OWN)
    notes = export_checkpoint(checkpoint, tmp_path / "out", datasets=["pets.v1"])
    assert {*notes} == {path.name for path in tmp_path.glob("out/*")}
    part, meta = load_model(tmp_path / "out", "cpu")
    assert [*meta.heads] == [IMAGE[0]]
    names = part.state_dict().keys()
    assert not [name for name in names if VIDEO[0] in name]
    assert any("adapters.pets%2Ev1" in name for name in names)
    x = torch.randn(2, 3, 16, 16)
    assert torch.equal(part(x, "pets.v1"), model(x, "pets.v1"))


def test_an_unknown_dataset(tmp_path: Path) -> None:
    _, checkpoint = save_model(tmp_path / "run")
    with pytest.raises(UsageError, match="--dataset ufc") as caught:
        export_checkpoint(checkpoint, tmp_path / "out", datasets=["ufc"])
    assert caught.value.hint == "did you mean ucf? its heads: ucf, pets.v1"
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_card_says_what_was_reached(tmp_path: Path) -> None:
    _, checkpoint = save_model(tmp_path / "run")
    meta = read_meta(checkpoint)
    measured = {"split": "val", "views": "1x1", "samples": 9, "top5": 100, "mean_class": 50}
    score = ScoreMeta(**measured, protocol="1x1 views, 3 frames | 16 px", top1=200 / 3)
    reached = meta.model_copy(update={"metrics": {"ucf": score}})
    write_card(reached, None, "ivvit", tmp_path / "card.md")
    rows = [line for line in (tmp_path / "card.md").read_text().splitlines() if "| ucf" in line]
    (cells,) = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    assert cells[:3] == ["ucf", "video", "3"]
    assert cells[4:] == ["66.67", "1x1 views, 3 frames / 16 px"]


def test_what_is_exported_names_no_folder_of_this_machine(tmp_path: Path) -> None:
    _, first = save_model(tmp_path / "private")
    export_tensors(first, tmp_path / "start.safetensors")
    sources = {
        str(tmp_path / "start.safetensors"): digest_file(tmp_path / "start.safetensors"),
        f"run:{tmp_path}/private": digest_file(first / "model.safetensors"),
        f"{tmp_path}/gone.pth": None,
        "hf:owner/name": None,
    }
    for number, (source, digest) in enumerate(sources.items()):
        section = {"weights": source, "parts": {"encoder.tubelet_*": f"{tmp_path}/part.pth"}}
        _, checkpoint = save_model(tmp_path / f"run{number}", {"kind": "msca"}, section=section)
        export_hugging_face(checkpoint, tmp_path / f"out{number}")
        name = source if source == "hf:owner/name" else Path(source).name
        start = f"`{name}` (sha256 {digest})" if digest else f"`{name}`"
        card = (tmp_path / f"out{number}/README.md").read_text()
        assert f"iterations, from {start}.\n" in card
        own = [path.read_bytes() for path in tmp_path.glob(f"out{number}/*")]
        assert not any(bytes(tmp_path) in content for content in own)
        assert read_meta(tmp_path / f"out{number}").model["weights"] == name


@pytest.mark.parametrize(
    ("name", "fault"), [("w.pt", UsageError), ("no/w.safetensors", InputError)]
)
def test_tensors_elsewhere(name: str, fault: type[Exception], tmp_path: Path) -> None:
    with pytest.raises(fault):
        export_tensors(tmp_path / "run", tmp_path / name)


def test_what_is_there_stays(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(UsageError, match="out: exists already"), new_folder(tmp_path / "out"):
        pass
    assert (tmp_path / "out").is_dir()


@pytest.mark.parametrize("stop", [KeyboardInterrupt, ValueError, OSError(28, "No space left")])
def test_a_folder_is_whole_or_absent(stop: Any, tmp_path: Path) -> None:
    def fill() -> None:
        with new_folder(tmp_path / "a/out") as folder:
            (folder / "half").write_text("x")
            raise stop

    with pytest.raises(EnvironmentFault if isinstance(stop, OSError) else stop):
        fill()
    assert list(tmp_path.glob("a/*")) == []
    with new_folder(tmp_path / "a/out") as folder:
        (folder / "whole").mkdir()
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.glob("a/**/*")] == [
        "a/out",
        "a/out/whole",
    ]


def test_a_head_names_no_file_elsewhere(tmp_path: Path) -> None:
    """A checkpoint may come from anybody, and its heads name files and folders."""
    _, checkpoint = save_model(tmp_path / "run", heads=(("../../stolen", ["cat", "dog"]), IMAGE))
    place = tmp_path / "a" / "out"
    place.parent.mkdir()
    with pytest.raises(InputError, match="a dataset's name starts with a letter or digit"):
        export_hugging_face(checkpoint, place)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "run"]
