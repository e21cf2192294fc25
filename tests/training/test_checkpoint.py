"""Checkpoints on the disk: whole or absent, found by name, their damage noticed."""

import errno
import json
import os
import resource
import shutil

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from workers import launch, wait

from ivvit_cli import runs
from ivvit_cli.errors import EnvironmentFault, InputError
from ivvit_cli.training.checkpoint import link, newest_intact, prune, save_checkpoint
from ivvit_cli.training.resume import read_saved

META = {
    "ivvit": "0",
    "model": {"backbone": "vit_tiny_patch16_224"},
    "input": {"size": 32, "mean": [0.5] * 3, "std": [0.5] * 3},
    "eval": {"views": "1x1", "average": "logits", "precision": "auto", "batch": 4},
    "heads": {},
    "metrics": {},
}


def save(run, iteration, size=10, **meta):
    weights = {"w": torch.full((size,), float(iteration)), "b": torch.ones(3, 2).T}
    state = {"moments": torch.arange(5), "iteration": iteration}
    return save_checkpoint(run, iteration, weights=weights, state=state, meta=META | meta)


def names(run):
    return sorted(path.name for path in run.joinpath("checkpoints").iterdir())


def test_layout(tmp_path):
    folder = save(tmp_path, 20000)
    assert folder == tmp_path / "checkpoints" / "step-00020000"
    assert names(tmp_path) == ["last", "step-00020000"]
    assert {p.name for p in folder.iterdir()} == {"model.safetensors", "state.pt", "meta.json"}
    meta = runs.read_meta(folder)
    assert meta.iteration == 20000
    assert meta.files == {
        name: runs.digest_file(folder / name) for name in ("model.safetensors", "state.pt")
    }


def test_prune_keeps_the_newest_and_the_best(tmp_path):
    for iteration in range(1, 6):
        folder = save(tmp_path, iteration)
        if iteration == 2:
            link(tmp_path, "best-a.b", folder)
        prune(tmp_path, 2)
    kept = ["best-a.b", "last", "step-00000002", "step-00000004", "step-00000005"]
    assert names(tmp_path) == kept


def test_references(tmp_path):
    run = tmp_path / "run@home"
    first, second = save(run, 1), save(run, 12)
    link(run, "best-ucf101", first)
    assert runs.find_checkpoint(run) == second
    assert runs.find_checkpoint(f"{run}@best-ucf101") == first
    assert runs.find_checkpoint(f"{run}@step-12") == second
    assert runs.find_checkpoint(f"{run}@step-00000001") == first
    assert runs.find_checkpoint(f"{run}@last") == second
    assert runs.find_checkpoint(first) == first
    assert runs.find_checkpoint(run / "checkpoints" / "best-ucf101") == first


@pytest.mark.parametrize("selector", ["best-nothing", "step-7", "nonsense"])
def test_unknown_reference_lists_what_there_is(tmp_path, selector):
    link(tmp_path, "best-a", save(tmp_path, 3))
    with pytest.raises(InputError, match=selector) as error:
        runs.find_checkpoint(f"{tmp_path}@{selector}")
    assert error.value.hint == "it has best-a, step-3"


def test_missing_and_empty_runs(tmp_path):
    with pytest.raises(InputError, match="no such run"):
        runs.find_checkpoint(tmp_path / "nowhere")
    with pytest.raises(InputError, match="holds no checkpoint"):
        runs.find_checkpoint(tmp_path)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Return a run with the checkpoints 1 and 2."""
    run = tmp_path_factory.mktemp("pair")
    save(run, 1)
    save(run, 2)
    return run


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_flipped_bit_is_noticed(pair, tmp_path_factory, data):
    run = tmp_path_factory.mktemp("flip") / "run"
    shutil.copytree(pair, run, symlinks=True)
    name = data.draw(st.sampled_from([runs.WEIGHTS_FILE, runs.STATE_FILE, runs.META_FILE]))
    path = run / "checkpoints" / "step-00000002" / name
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    warnings = []
    if _reads_the_same(path, pair):
        return
    assert newest_intact(run, warnings.append).name == "step-00000001"
    assert len(warnings) == 1
    assert name in warnings[0]
    shutil.rmtree(run.parent)


def _reads_the_same(path, pair):
    """Tell whether a flip only turned one white space of meta.json into another."""
    original = pair / "checkpoints" / path.parent.name / path.name
    same = path.read_bytes().split() == original.read_bytes().split()
    return path.name == runs.META_FILE and same


@pytest.mark.parametrize("name", [runs.WEIGHTS_FILE, runs.STATE_FILE, runs.META_FILE])
@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_cut_and_missing_files_are_noticed(pair, tmp_path, name, damage):
    run = tmp_path / "run"
    shutil.copytree(pair, run, symlinks=True)
    path = run / "checkpoints" / "step-00000002" / name
    if damage == "cut":
        os.truncate(path, path.stat().st_size // 2)
    else:
        path.unlink()
    warnings = []
    assert newest_intact(run, warnings.append).name == "step-00000001"
    assert len(warnings) == 1
    assert "damaged-step-00000002" in names(run)
    assert run.joinpath("checkpoints", "last").resolve().name == "step-00000001"


def test_no_intact_checkpoint(tmp_path):
    save(tmp_path, 1).joinpath(runs.STATE_FILE).unlink()
    with pytest.raises(InputError, match="no intact checkpoint"):
        newest_intact(tmp_path, lambda text: None)
    with pytest.raises(InputError, match="no intact checkpoint"):  # set aside by now
        newest_intact(tmp_path, lambda text: None)


def test_no_checkpoint_yet(tmp_path):
    assert newest_intact(tmp_path, print) is None


def test_another_schema_is_not_damage(tmp_path):
    path = save(tmp_path, 1) / runs.META_FILE
    document = json.loads(path.read_text()) | {"schema": 9}
    path.write_text(json.dumps(document | {"sha256": runs.digest_document(document)}))
    with pytest.raises(InputError, match="schema 9, but this ivvit reads 1"):
        newest_intact(tmp_path, lambda text: None)
    assert "step-00000001" in names(tmp_path)


def test_pickles_are_refused(tmp_path):
    folder = save(tmp_path, 1)
    torch.save({"optimiser": os.system}, folder / runs.STATE_FILE)
    with pytest.raises(InputError, match=r"state\.pt: refused"):
        read_saved(folder)


def test_full_disk_leaves_the_checkpoint_before(tmp_path):
    save(tmp_path, 1)
    assert wait(launch(save_with_little_room, tmp_path)) == [4]
    assert names(tmp_path) == ["last", "step-00000001"]
    assert newest_intact(tmp_path, print).name == "step-00000001"


def save_with_little_room(run):
    """Save under a limit on the size of a file, which fails as a full disk does."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
    with pytest.raises(EnvironmentFault, match="cannot be written") as error:
        save(run, 2, size=10_000)
    raise error.value


def test_read_only_folder(tmp_path):
    tmp_path.joinpath("checkpoints").write_text("a file where the folder belongs")
    with pytest.raises(EnvironmentFault, match=os.strerror(errno.ENOTDIR)):
        save(tmp_path, 1)


def test_replacing_a_checkpoint(tmp_path):
    save(tmp_path, 1)
    score = {"split": "val", "views": "1x1", "protocol": "centre crop, 32 px", "samples": 2}
    save(tmp_path, 1, metrics={"a": {**score, "top1": 50.0, "top5": 100.0, "mean_class": 50.0}})
    assert runs.read_meta(runs.find_checkpoint(tmp_path)).metrics["a"].top1 == 50.0
    assert names(tmp_path) == ["last", "step-00000001"]


def test_kill_between_the_renames_of_a_replacement(tmp_path):
    folder = save(tmp_path, 1)
    folder.rename(folder.with_name(".old-step-00000001"))
    folder.with_name(".new-step-00000001").mkdir()
    assert newest_intact(tmp_path, print).name == "step-00000001"
    assert names(tmp_path) == ["last", "step-00000001"]
