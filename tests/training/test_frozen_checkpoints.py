"""Runs with a frozen backbone: what they store, and what happens where the backbone is not."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from timm import create_model
from workers import launch, train, wait

from ivvit_cli import app
from ivvit_cli.errors import EnvironmentFault, InputError
from ivvit_cli.models import build_model, load_weights
from ivvit_cli.models.weights import hub
from ivvit_cli.runs import find_checkpoint, load_model, read_meta
from ivvit_cli.training.resume import read_saved

pytest_plugins = ["training_fixtures"]

ARGS = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2}
FROZEN = (
    "model.freeze=[backbone]",
    "model.temporal={kind: adaptformer, width: 4}",
    "schedule.iterations=3",
    "checkpoint.every=1",
    "checkpoint.keep=9",
)


@pytest.fixture(autouse=True)
def threads():
    """Undo what resuming does to the number of torch's threads."""
    count = torch.get_num_threads()
    yield
    torch.set_num_threads(count)


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    """Return a file of random weights for the backbone of the recipe."""
    torch.manual_seed(5)
    path = tmp_path_factory.mktemp("weights") / "vit.safetensors"
    save_file(create_model("vit_tiny_patch16_224", num_classes=0, **ARGS).state_dict(), path)
    return path


@pytest.fixture(scope="module")
def run(recipe, backbone, tmp_path_factory):
    folder = tmp_path_factory.mktemp("frozen") / "run"
    assert wait(launch(train, recipe, folder, *FROZEN, f"model.weights={backbone}")) == [0]
    return folder


@pytest.fixture
def moved(run, backbone, tmp_path):
    """Return a copy of the run, whose backbone is at the second place that is returned."""
    copy, place = tmp_path / "run", tmp_path / "elsewhere.safetensors"
    shutil.copytree(run, copy, symlinks=True)
    place.write_bytes(backbone.read_bytes())
    for meta in copy.glob("checkpoints/step-*/meta.json"):
        rename_source(meta, "weights/absent.safetensors")
    return copy, place


def rename_source(path, source):
    from ivvit_cli.runs import digest_document

    document = json.loads(path.read_text())
    document["frozen"]["source"] = source
    path.write_text(json.dumps(document | {"sha256": digest_document(document)}))


def test_only_what_was_trained_is_stored(run, backbone):
    checkpoint = find_checkpoint(run)
    stored, given = load_file(checkpoint / "model.safetensors"), load_file(backbone)
    model, meta = load_model(checkpoint, "cpu")
    # The statistics of the heads' batch norms are learned, too, though no optimiser does it.
    assert stored.keys() == {name for name in model.state_dict() if ".vit." not in name}
    assert (meta.frozen.source, meta.frozen.tensors) == (str(backbone), len(given))
    for name, value in model.encoder.vit.state_dict().items():
        assert torch.equal(value, given[name]), name


def test_what_no_source_gives_is_stored(recipe, tmp_path):
    """A frozen backbone of random weights is nowhere else."""
    assert wait(launch(train, recipe, tmp_path / "run", *FROZEN)) == [0]
    checkpoint = find_checkpoint(tmp_path / "run")
    assert read_meta(checkpoint).frozen is None
    assert "encoder.vit.cls_token" in load_file(checkpoint / "model.safetensors")


def test_a_run_as_source_is_stored(recipe, run, tmp_path):
    again = ("schedule.iterations=1", f"model.weights={run}")
    assert wait(launch(train, recipe, tmp_path / "run", *FROZEN, *again)) == [0]
    checkpoint = find_checkpoint(tmp_path / "run")
    assert read_meta(checkpoint).frozen is None
    first, second = load_model(find_checkpoint(run), "cpu")[0], load_model(checkpoint, "cpu")[0]
    assert torch.equal(
        first.encoder.vit.blocks[1].mlp.fc1.weight, second.encoder.vit.blocks[1].mlp.fc1.weight
    )


def test_resuming_is_exact(recipe, backbone, run, tmp_path):
    cut = tmp_path / "run"
    shutil.copytree(run, cut, symlinks=True)
    shutil.rmtree(cut / "checkpoints/step-00000003")
    shutil.rmtree(cut / "checkpoints/step-00000002")
    assert app.run(["train", "--resume", str(cut), "--device", "cpu"]) == 0
    whole, resumed = (read_saved(find_checkpoint(place)) for place in (run, cut))
    assert whole.weights.keys() == resumed.weights.keys()
    for name, value in whole.weights.items():
        assert torch.equal(resumed.weights[name], value), name
    assert load_file(find_checkpoint(cut) / "model.safetensors").keys() == (
        load_file(find_checkpoint(run) / "model.safetensors").keys()
    )


def test_an_absent_backbone_is_one_line(moved, capsys):
    run, place = moved
    assert app.run(["eval", str(run)]) == 4
    error, hint = capsys.readouterr().err.splitlines()[-2:]
    assert "holds what was trained alone, and its frozen backbone is not here" in error
    assert "weights/absent.safetensors: no such file of weights" in error
    assert "--backbone" in hint
    assert app.run(["eval", str(run), "--backbone", str(place), "--json"]) == 0
    with pytest.raises(EnvironmentFault, match="frozen backbone is not here"):
        load_weights(load_model(find_checkpoint(run), "cpu", str(place))[0], str(run))
    assert app.run(["train", "--resume", str(run)]) == 0  # the recipe knows the old place
    assert app.run(["train", "--resume", str(run), f"model.weights={place}"]) == 0
    assert app.run(["train", "--resume", str(run), "model.weights=null"]) == 4


def test_a_checkpoint_downloads_nothing_by_itself(moved, monkeypatch):
    run, _ = moved
    for meta in run.glob("checkpoints/step-*/meta.json"):
        rename_source(meta, "timm:vit_tiny_patch16_224.augreg_in21k")
    asked = []
    monkeypatch.setattr(hub, "_obstacle", lambda endpoint: asked.append(endpoint) or "no network")
    with pytest.raises(EnvironmentFault, match="its frozen backbone is not here: timm:vit_tiny"):
        load_model(find_checkpoint(run), "cpu")
    assert asked == []


def test_another_backbone_is_refused(moved, backbone, tmp_path):
    other = load_file(backbone)
    other["blocks.0.mlp.fc1.bias"][3] += 1e-6
    save_file(other, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match=r"other\.safetensors: is not the backbone that"):
        load_model(find_checkpoint(moved[0]), "cpu", str(tmp_path / "other.safetensors"))


def test_an_exported_model_needs_no_backbone(moved, run, tmp_path, capsys):
    here = tmp_path / "complete"
    command = ["model", "export", str(moved[0]), "-o", str(here)]
    assert app.run(command) == 4
    assert app.run([*command, "--backbone", str(moved[1])]) == 0
    assert app.run([*command, "--backbone", str(moved[1])]) == 2  # it is there already
    assert {path.name for path in here.iterdir()} == {"meta.json", "model.safetensors"}
    (model, meta), (own, _) = load_model(here, "cpu"), load_model(find_checkpoint(run), "cpu")
    assert meta.frozen is None
    for name, value in own.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name
    fresh = build_model(meta.model, {name: len(h.classes) for name, h in meta.heads.items()})
    load_weights(fresh, str(here))
    assert torch.equal(fresh.encoder.vit.cls_token, own.encoder.vit.cls_token)
    capsys.readouterr()
    assert app.run(["eval", str(here), "--json"]) == 0
