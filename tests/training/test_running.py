"""What batch norms remember: a skipped update leaves nothing in it, and all processes have it."""

import os

import torch
from safetensors.torch import load_file
from workers import launch, launch_world, train, wait

from ivvit_cli.runs import find_checkpoint

pytest_plugins = ["training_fixtures"]

NORMED = (
    "model.freeze=[backbone]",
    "model.temporal={kind: adaptformer, width: 4}",
    "schedule.iterations=2",
    "eval.every=2",
)


def statistics(state):
    """Return the running statistics of a state dict."""
    return {name: value for name, value in state.items() if "running_" in name}


def spoil_an_update():
    from ivvit_cli.training.update import Update

    render, numbers = Update._render, iter(range(1000))

    def spoilt(self, dataset, batch):
        return render(self, dataset, batch) * (float("nan") if next(numbers) == 1 else 1)

    Update._render = spoilt


def train_spoilt(recipe, run):
    train(recipe, run, *NORMED, sabotage=spoil_an_update)


def test_a_skipped_update_leaves_no_statistics(recipe, tmp_path):
    assert wait(launch(train_spoilt, recipe, tmp_path / "run")) == [0]
    assert "loss not finite, update skipped" in (tmp_path / "run.err").read_text()
    found = statistics(load_file(find_checkpoint(tmp_path / "run") / "model.safetensors"))
    assert found
    assert all(value.isfinite().all() for value in found.values())


def lose_all():
    from ivvit_cli.training.update import Update

    share = Update._share

    def spoilt(self, dataset, batch):
        result = share(self, dataset, batch)
        return result._replace(loss=result.loss * float("inf"))

    Update._share = spoilt


def train_in_vain(recipe, run):
    train(recipe, run, *NORMED, "schedule.iterations=9", sabotage=lose_all)


def test_samples_of_bad_updates_are_tried_one_by_one(recipe, tmp_path):
    """Which in training a batch norm refuses."""
    assert wait(launch(train_in_vain, recipe, tmp_path / "run")) == [1]


def train_noting(recipe, run):
    """Train, and save what this process validates with."""
    from ivvit_cli.training.validation import Validation

    validate = Validation.run

    def noting(self, model, **rest):
        place = run.with_name(f"rank-{os.environ['RANK']}.pt")
        torch.save(statistics(model.state_dict()), place)
        return validate(self, model, **rest)

    Validation.run = noting
    train(recipe, run, *NORMED)


def test_all_processes_validate_with_what_is_saved(recipe, tmp_path):
    assert wait(*launch_world(train_noting, recipe, tmp_path / "run", world=2)) == [0, 0]
    saved = statistics(load_file(find_checkpoint(tmp_path / "run") / "model.safetensors"))
    for rank in range(2):
        own = torch.load(tmp_path / f"rank-{rank}.pt")
        assert own.keys() == saved.keys()
        assert all(torch.equal(own[name], saved[name]) for name in saved)
