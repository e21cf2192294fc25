"""A run that starts from another: new heads, a linear probe, fine-tuning (CoVeR 3.2, Figure 3)."""

import pytest
import torch
from safetensors.torch import load_file
from tiny_runs import make_shards, write_films
from workers import launch, train, wait

from ivvit_cli import app
from ivvit_cli.runs import WEIGHTS_FILE, find_checkpoint

pytest_plugins = ["training_fixtures"]

SHORT = ("schedule.iterations=3", "eval.every=null")
PROBE = "model.freeze=[encoder.*]"


@pytest.fixture(scope="module")
def source(recipe, tmp_path_factory):
    run = tmp_path_factory.mktemp("source") / "run"
    assert wait(launch(train, recipe, run, *SHORT)) == [0]
    return run


@pytest.fixture(scope="module")
def target(shards, tmp_path_factory):
    """Return the overrides that put another dataset of films in the place of the two."""
    root = tmp_path_factory.mktemp("target")
    for split in ("train", "val"):
        write_films(root / "raw", ["fall", "jump", "turn"], 2, split=split)
    make_shards("videofolder", root / "raw", root / "others")
    clip = "{sample: uniform, frames: 4}"
    others = f"data.others={{shards: {root}/others, batch: 4, clip: {clip}}}"
    return ("data.pictures=null", "data.films=null", others)


def weights(run, at="last"):
    return load_file(find_checkpoint(f"{run}@{at}") / WEIGHTS_FILE)


def test_a_linear_probe_trains_a_new_head_and_nothing_else(recipe, source, target, tmp_path):
    run, at = tmp_path / "probe", f"model.weights=run:{source}"
    assert wait(launch(train, recipe, run, at, PROBE, *target, *SHORT)) == [0]
    before, after = weights(source), weights(run)
    kept = {name for name in before if name.startswith("encoder.")}
    assert kept == {name for name in after if name.startswith("encoder.")}
    assert all(torch.equal(before[name], after[name]) for name in kept)
    assert {name.split(".")[1] for name in after.keys() - kept} == {"others"}
    first = weights(run, "step-2")
    assert all(not torch.equal(first[name], after[name]) for name in after.keys() - kept)
    log = (run / "log.txt").read_text()
    assert f"run:{source} (ivvit): {len(kept)} of {len(kept)} encoder tensors loaded" in log
    assert "classifier: not kept, of films, pictures" in log
    assert "classifier: into" not in log
    trained = sum(after[name].numel() for name in after.keys() - kept)
    assert f"{trained:,} of them trained" in log


def test_fine_tuning_moves_all_and_a_known_head_is_kept(recipe, source, tmp_path):
    """Of the run at an earlier step; `films` has the classes that it had there."""
    run, at = tmp_path / "tuned", f"model.weights=run:{source}@step-2"
    still = ("data.pictures=null", "optim.warmup=0", "optim.lr=1e-12", "optim.weight_decay=0")
    assert wait(launch(train, recipe, run, at, *still, *SHORT)) == [0]
    before, after = weights(source, "step-2"), weights(run)
    assert after.keys() == {name for name in before if "pictures" not in name}
    for name, value in after.items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=1e-9)
    assert any(not torch.equal(value, before[name]) for name, value in after.items())
    log = (run / "log.txt").read_text()
    assert "classifier: into head films" in log
    assert "classifier: not kept, of pictures" in log


@pytest.mark.parametrize("place", ["run:{tmp}/none", "run:{tmp}/none@best-films"])
def test_a_run_that_is_not_there_yet_is_named(recipe, target, tmp_path, capsys, place):
    """Checking it is no fault; training needs it."""
    at = "model.weights=" + place.format(tmp=tmp_path)
    assert app.run(["recipe", "check", str(recipe), at, *target]) == 0
    assert f"train it first, with --run {tmp_path}/none" in capsys.readouterr().err
    run = tmp_path / "run"
    assert app.run(["train", "--recipe", str(recipe), "--run", str(run), at, *target]) == 4
    assert f"error: {tmp_path}/none: no such run" in capsys.readouterr().err
    assert not run.exists()
