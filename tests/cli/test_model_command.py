"""`ivvit model`: ls, info, import."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from conftest import Result
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny_runs import MODEL, make_shards, save_run, write_pictures

from ivvit_cli.models.temporal import KINDS

Ivvit = Callable[..., Result]
NOWHERE = "  model.weights=… takes timm:NAME, hf:REPO, a file, a run, or null for random weights"
TINY = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2}


def tiny_vit(**args: object) -> torch.nn.Module:
    torch.manual_seed(3)
    return timm.create_model("vit_tiny_patch16_224", **(TINY | args))


@pytest.fixture
def weights(tmp_path: Path) -> str:
    """A file of timm's names with a classifier of 7 classes."""
    save_file(tiny_vit(num_classes=7).state_dict(), tmp_path / "vit.safetensors")
    return "vit.safetensors"


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    model = json.dumps({**MODEL, "temporal": {"kind": "divided", "frames": 4}})
    (tmp_path / "my.yaml").write_text(
        f"""
model: {model}
data:
  k:
    shards: data/k
    batch: 6
    clip: {{sample: uniform, frames: 4}}
  photos: {{shards: data/photos, batch: 4}}
schedule: {{iterations: 3}}
optim: {{name: sgd, lr: 0.1}}
train: {{accumulate: 2}}
"""
    )
    return "my.yaml"


def test_ls_lists_kinds_and_backbones(ivvit_here: Ivvit) -> None:
    document = ivvit_here("model", "ls", "--json").json
    kinds = {kind["kind"]: kind for kind in document["temporal"]}
    assert kinds.keys() == KINDS.keys()
    assert "flow: aligned, blocks: all, adapter: plain, unit: lstm" in kinds["am_flow"]["options"]
    assert "before: [attn, mlp], adapters: shared" in kinds["st_adapter"]["options"]
    assert all(kind["about"].endswith(".") for kind in kinds.values())
    by_name = {entry["name"]: entry for entry in document["backbones"]}
    assert by_name["vit_base_patch14_dinov2"]["size"] == 518
    assert "orig_in21k" in by_name["vit_base_patch16_224"]["tags"]
    assert "resnet50" not in by_name
    assert ivvit_here("model", "ls", "reg*dinov2").stdout.count("lvd142m") == 4


def test_ls_of_what_does_not_exist(ivvit_here: Ivvit) -> None:
    done = ivvit_here("model", "ls", "vit_bse_patch16_224")
    assert (done.code, done.stdout) == (2, "")
    assert "hint: the nearest: vit_base_patch16_224" in done.stderr


def test_info_of_a_recipe(ivvit_here: Ivvit, recipe: str) -> None:
    document = ivvit_here(
        "model", "info", recipe, "--views", "4x3", "--classes", "k=7", "--json"
    ).json
    parameters = document["parameters"]
    assert parameters["without_head"] == ["photos"]
    assert parameters["parts"]["head k"] == {"total": 7 * 33, "trainable": 7 * 33}
    assert parameters["total"] == sum(part["total"] for part in parameters["parts"].values())
    clip, photo = document["datasets"]["k"], document["datasets"]["photos"]
    assert (clip["views"], photo["views"]) == (12, 3)  # an image has no clips
    for cost in (clip, photo):
        assert cost["multiply_adds"] > cost["multiply_adds_without_attention"] > 0
        assert cost["multiply_adds_of_views"] == cost["views"] * cost["multiply_adds"]
        assert cost["step_bytes"] == cost["batch"] * cost["activation_bytes"]
    assert (clip["batch"], photo["batch"]) == (3, 2)  # a half of each, as `accumulate` says
    assert document["weights"] == {"source": None, "report": ["random"]}


def test_info_as_a_table(ivvit_here: Ivvit, recipe: str) -> None:
    done = ivvit_here("model", "info", recipe, "model.temporal.kind=none")
    assert done.code == 0
    assert "unknown: --classes photos=N" in done.stdout
    assert "all but unknown heads" in done.stdout
    assert "in blocks, over time" not in done.stdout
    assert "4 frames" in done.stdout
    assert done.stdout.endswith("Weights: random\n")
    assert "as TokShift and MSCA count" in done.stderr


def test_info_tries_weights_on_that_are_at_hand(
    ivvit_here: Ivvit, recipe: str, weights: str, tmp_path: Path
) -> None:
    def report(source: str) -> str:
        done = ivvit_here("model", "info", recipe, f"model.weights={source}", "--json")
        return "\n".join(done.json["weights"]["report"])

    assert "vit.safetensors (timm): 30 of " in report(weights)
    assert "derived (17)" in report(weights)
    assert "not there yet" in report("none.pth")
    assert "fetched when training starts" in report("hf:o/r")
    photos = make_shards("imagefolder", _pictures(tmp_path), tmp_path / "data/photos")
    save_run(tmp_path / "r", {"photos": photos})
    same = ("data.photos.split=val", "model.temporal.kind=token_shift", "model.weights=r")
    assert "classifier: into head photos" in ivvit_here("model", "info", recipe, *same).stdout
    poor = ivvit_here(
        "model", "info", recipe, f"model.weights={weights}", "model.backbone_args.depth=3"
    )
    assert (poor.code, poor.stdout) == (3, "")


def test_info_shows_parts_with_weights_of_their_own(
    ivvit_here: Ivvit, recipe: str, weights: str
) -> None:
    parts = f"{{encoder.vit.patch_embed.*: {weights}, encoder.vit.norm.*: 'hf:o/r', '*': no.pth}}"
    words = ("model", "info", recipe, f"model.parts={parts}")
    assert ivvit_here(*words, "--json").json["parts"] == {
        "encoder.vit.patch_embed.*": {
            "source": weights,
            "report": ["2 tensors of vit.safetensors (timm)"],
        },
        "encoder.vit.norm.*": {
            "source": "hf:o/r",
            "report": ["hf:o/r: fetched when training starts"],
        },
        "*": {"source": "no.pth", "report": ["no.pth: not there yet", NOWHERE]},
    }
    *_, weights_line, first, second, third, hint = ivvit_here(*words).stdout.splitlines()
    assert weights_line == "Weights: random"
    assert first == "Part encoder.vit.patch_embed.*: 2 tensors of vit.safetensors (timm)"
    assert second == "Part encoder.vit.norm.*: hf:o/r: fetched when training starts"
    assert (third, hint) == ("Part *: no.pth: not there yet", NOWHERE)
    poor = f"model.parts={{encoder.tubelet_*: {weights}}}"
    assert ivvit_here("model", "info", recipe, poor).code == 3
    assert ivvit_here("model", "info", recipe, "--json").json["parts"] == {}


def _pictures(folder: Path) -> Path:
    write_pictures(folder / "pictures", ["a", "b"], 1)
    return folder / "pictures"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--classes", "x=3"], "--classes x=3: no dataset x"),
        (["--classes", "k=0"], "--classes k=0: not of the form NAME=N"),
        (["--views", "3"], "views '3': not CLIPSxCROPS"),
        (["model.backbone=resnet50"], "backbone resnet50: is no Vision Transformer"),
    ],
)
def test_info_of_what_makes_no_sense(
    ivvit_here: Ivvit, recipe: str, words: list[str], message: str
) -> None:
    done = ivvit_here("model", "info", recipe, *words)
    assert (done.code, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {message}")


def test_import_writes_what_a_recipe_takes(
    ivvit_here: Ivvit, recipe: str, weights: str, tmp_path: Path
) -> None:
    words = ("model", "import", weights, "-o", "ours.safetensors", "--head", "k", "--json")
    document = ivvit_here(*words).json
    with safe_open(tmp_path / "ours.safetensors", framework="pt") as file:
        note = json.loads(file.metadata()["ivvit"])
        names = set(file.keys())
    assert {key: document[key] for key in note} == note
    assert note["sha256"] == hashlib.sha256((tmp_path / weights).read_bytes()).hexdigest()
    assert (note["source"], note["importer"], note["loaded"]) == (weights, "timm", 30)
    assert (note["missing"], note["unused"], document["tensors"]) == ([], [], 32)
    assert {"heads.k.linears.0.weight", "encoder.vit.cls_token"} < names
    info = ("model", "info", recipe, "model.weights=ours.safetensors", "--classes", "k=7")
    assert "30 of 47 encoder tensors loaded" in ivvit_here(*info).stdout
    asked = ivvit_here(*info, "model.head=k").stdout
    assert "classifier: into head k" in asked
    assert ivvit_here(*info, "model.head=photos").code == 2


def test_import_fits_what_it_is_told_to(ivvit_here: Ivvit, recipe: str, tmp_path: Path) -> None:
    save_file(tiny_vit(img_size=64, num_classes=7).state_dict(), tmp_path / "vit.safetensors")
    words = ("model", "import", "vit.safetensors", "-o", "ours.safetensors", "--model", recipe)
    done = ivvit_here(*words)
    assert done.code == 0
    assert "resized" in done.stdout
    assert "encoder.vit.pos_embed" in done.stdout
    assert f"next: ivvit train --recipe {recipe} model.weights=ours.safetensors\n" in done.stderr
    state = load_file(tmp_path / "ours.safetensors")
    assert state["encoder.vit.pos_embed"].shape == (1, 17, 32)
    assert not any(name.startswith("head") for name in state)  # of unknown classes, unasked
    again = ivvit_here(*words)
    assert (again.code, again.stdout) == (2, "")
    assert "ours.safetensors: exists already" in again.stderr
    poor = ivvit_here(
        "model",
        "import",
        "vit.safetensors",
        "-o",
        "b.safetensors",
        "--backbone",
        "vit_tiny_patch16_224",
    )
    assert (poor.code, poor.stdout) == (3, "")
    assert "fits only" in poor.stderr
    assert not (tmp_path / "b.safetensors").exists()
    other = ivvit_here(*words[:4], "c.safetensors", *words[5:], "model.backbone_args.depth=3")
    assert "gives nothing to" in other.stderr or "fits only" in other.stderr


def test_import_of_a_run_keeps_its_classes(ivvit_here: Ivvit, tmp_path: Path) -> None:
    pictures = make_shards("imagefolder", _pictures(tmp_path), tmp_path / "pictures.shards")
    save_run(tmp_path / "r", {"p": pictures})
    done = ivvit_here("model", "import", "r", "-o", "w.safetensors", "--json").json
    assert done["classes"] == {"p": ["a", "b"]}
    assert "heads.p.linears.0.weight" in load_file(tmp_path / "w.safetensors")


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["none.pth", "-o", "a.safetensors"], 4, "none.pth: no such file of weights"),
        (["vit.safetensors", "-o", "a.pth"], 2, "a.pth: weights are written to a .safetensors"),
        (["vit.safetensors", "-o", "no/a.safetensors"], 3, "no: no such folder"),
        (["vit.safetensors", "-o", "a.safetensors", "a=1"], 2, "a=1: changes a recipe"),
        (
            ["vit.safetensors", "-o", "a.safetensors", "--model", "iv-vit", "--backbone", "x"],
            2,
            "--model and --backbone both say",
        ),
        (
            ["vit.safetensors", "-o", "a.safetensors", "--backbone", "resnet50"],
            2,
            "backbone resnet50: is no Vision Transformer",
        ),
    ],
)
def test_import_of_what_makes_no_sense(
    ivvit_here: Ivvit, weights: str, words: list[str], code: int, message: str, tmp_path: Path
) -> None:
    done = ivvit_here("model", "import", *words)
    assert (done.code, done.stdout) == (code, "")
    assert done.stderr.startswith(f"error: {message}")
    assert sorted(path.name for path in tmp_path.iterdir()) == [weights]


def test_a_damaged_note_is_refused(ivvit_here: Ivvit, recipe: str, tmp_path: Path) -> None:
    for number, note in enumerate(('{"classes": 3, "importer": 1}', "[", "[1]", '"x"')):
        name = f"{number}.safetensors"
        save_file(tiny_vit().state_dict(), tmp_path / name, metadata={"ivvit": note})
        done = ivvit_here("model", "info", recipe, f"model.weights={name}")
        assert (done.code, done.stdout) == (3, "")
        assert "its note is damaged" in done.stderr


def test_a_head_that_takes_the_classifier(
    ivvit_here: Ivvit, recipe: str, weights: str, tmp_path: Path
) -> None:
    """`recipe check` tries it on: here it does not fit, and there is no such head at all."""
    make_shards("imagefolder", _pictures(tmp_path), tmp_path / "data/photos")
    words = ("recipe", "check", recipe, "data.photos.split=val", f"model.weights={weights}")
    assert ivvit_here(*words).code == 0
    assert ivvit_here(*words, "model.head=k").code == 0  # without shards its size is unknown
    poor = ivvit_here(*words, "model.head=photos")
    assert (poor.code, poor.stdout) == (2, "")
    assert "does not fit head photos: head.linears.0.weight is 7x32, 2x32 is needed" in poor.stderr
    absent = ivvit_here(*words, "model.head=x")
    assert (absent.code, absent.stdout) == (2, "")
    assert "`model.head` is x, which is none of the datasets" in absent.stderr
