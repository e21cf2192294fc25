"""Trainings under every joint schedule: what an update sees, its gradient, resuming, processes."""

import json
import shutil
from collections import Counter

import pytest
import torch
from test_processes import SGD, assert_equal_gradients, recorded
from torch.nn import functional as F
from workers import launch, outcome, train, wait

from ivvit_cli.config import load_recipe
from ivvit_cli.training.assemble import make_trainer
from ivvit_cli.training.distributed import Ranks
from ivvit_cli.training.job import job_of
from ivvit_cli.training.prepared import prepare
from ivvit_cli.training.schedule import KINDS

pytest_plugins = ["training_fixtures"]

WEIGHTED = ("schedule.kind=weighted", "schedule.batch=5", "data.pictures.batch=null")
LOSSES = ("data.pictures.weight=0.5", "data.films.weight=2")


def make(recipe, folder, *overrides):
    prepared = prepare(job_of(load_recipe(str(recipe), list(overrides))))
    return make_trainer(
        prepared,
        folder,
        device=torch.device("cpu"),
        ranks=Ranks(),
        saved=None,
        frozen=None,
        journal=None,
    )


def test_a_step_is_the_weighted_sum_of_losses_and_gradients(recipe, tmp_path):
    """18 pictures and 12 films share 5 samples: 3 and 2. The sum is made here by hand."""
    trainer = make(recipe, tmp_path, *WEIGHTED, *LOSSES, "model.backbone_args.drop_path_rate=0")
    model = trainer.update.model
    for head in model.heads.parameters():
        torch.nn.init.normal_(head, generator=torch.Generator().manual_seed(0))
    with trainer._loader(trainer.schedule.between(0, 1)) as loader:
        batches = next(loader)
    assert {name: len(batch.keys) for name, batch in batches.items()} == {"pictures": 3, "films": 2}
    trainer._forward_backward(batches)
    found = [None if p.grad is None else p.grad.clone() for p in trainer._parameters()]
    model.zero_grad(set_to_none=True)
    total = 0
    for name, weight in (("pictures", 0.5), ("films", 2.0)):
        batch, update = batches[name], trainer.update
        logits = model(batch.render(update.size, update.mean, update.std), name)
        total = total + weight * F.cross_entropy(logits, batch.labels)
    total.backward()
    for ours, parameter in zip(found, trainer._parameters(), strict=True):
        torch.testing.assert_close(ours, parameter.grad, rtol=1e-4, atol=1e-6)


def test_an_epoch_shows_every_sample_once(recipe, tmp_path):
    (updates,) = recorded(recipe, tmp_path / "one", 1, *SGD, *WEIGHTED, "schedule.iterations=6")
    assert all(set(update["keys"]) == {"pictures", "films"} for update in updates)
    assert [sum(map(len, update["keys"].values())) for update in updates] == [5] * 6
    for name, samples in (("pictures", 18), ("films", 12)):
        keys = Counter(key for update in updates for key in update["keys"][name])
        assert len(keys) == samples
        assert set(keys.values()) == {1}


@pytest.mark.parametrize("world", [2, 3])
def test_several_processes_are_one(recipe, tmp_path, world):
    """Also where a process has no sample of a dataset."""
    settings = (*SGD, *WEIGHTED, *LOSSES, "schedule.batch=4")
    (single,) = recorded(recipe, tmp_path / "one", 1, *settings)
    ranks = recorded(recipe, tmp_path / "many", world, *settings)
    for number, update in enumerate(single):
        for name, keys in update["keys"].items():
            joined = [key for rank in ranks for key in rank[number]["keys"][name] if key]
            assert joined == [key for key in keys if key]
        for rank in ranks:
            assert_equal_gradients(update["gradients"], rank[number]["gradients"])


@pytest.mark.parametrize("kind", KINDS)
def test_a_resumed_run_is_the_whole_run(recipe, tmp_path, kind):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    settings = ["checkpoint.every=2", "checkpoint.keep=9", "eval.every=4", "data.films.weight=3"]
    settings += WEIGHTED if kind == "weighted" else [f"schedule.kind={kind}"]
    assert wait(launch(train, recipe, whole, *settings)) == [0]
    shutil.copytree(whole, cut, symlinks=True)
    for step in (6, 8):
        shutil.rmtree(cut / f"checkpoints/step-{step:08d}")
    assert wait(launch(train, recipe, cut)) == [0]
    assert outcome(cut) == outcome(whole)


def test_the_plan_says_what_an_epoch_is(recipe, capsys, tmp_path, monkeypatch):
    from ivvit_cli import app

    monkeypatch.chdir(tmp_path)
    settings = [*WEIGHTED, "schedule.iterations=null", "schedule.epochs=2", "optim.warmup=1ep"]
    assert app.run(["train", "--recipe", str(recipe), *settings, "--dry-run", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert (plan["iterations"], plan["updates"], plan["schedule"]) == (12, 12, "weighted")
    rows = {name: (row["batch"], row["epochs"]) for name, row in plan["datasets"].items()}
    assert rows == {"pictures": (3, 2), "films": (2, 2)}


@pytest.mark.parametrize(
    ("sampling", "batches"),
    [("equal", (2.5, 2.5)), ("sqrt", (2.75, 2.25)), ("{pictures: 4, films: 1}", (4, 1))],
)
def test_other_ways_to_sample(recipe, tmp_path, sampling, batches):
    trainer = make(recipe, tmp_path, *WEIGHTED, f"schedule.sampling={sampling}")
    spans = [trainer.streams[name].plan.span(0).stop for name in ("pictures", "films")]
    assert sum(spans) == 5
    many = [trainer.streams[name].plan.span(999).stop / 1000 for name in ("pictures", "films")]
    assert many == pytest.approx(batches, abs=0.01)
