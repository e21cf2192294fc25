"""Training adapters beside a frozen backbone: what moves, what is kept, and in two processes."""

import pytest
import torch
from safetensors.torch import load_file
from test_processes import SGD, assert_equal_gradients, recorded
from workers import launch, train, wait

from ivvit_cli.models.freezing import is_backbone
from ivvit_cli.runs import find_checkpoint

pytest_plugins = ["training_fixtures"]

KIND = "model.temporal={kind: am_flow, adapters: per-dataset, adapter: {kind: plain, width: 8}}"
FROZEN = (KIND, "model.freeze=[backbone]", "optim.weight_decay=0.5")
ALONE = (*FROZEN, "data.pictures=null", "model.temporal.last_frame=false")


@pytest.fixture(scope="module")
def run(recipe, tmp_path_factory):
    folder = tmp_path_factory.mktemp("frozen") / "run"
    overrides = (*FROZEN, "schedule.iterations=3", "checkpoint.every=1", "checkpoint.keep=9")
    assert wait(launch(train, recipe, folder, *overrides)) == [0]
    return folder


def test_the_backbone_stays_and_the_rest_moves(run):
    places = [find_checkpoint(f"{run}@step-{number}") for number in (1, 3)]
    first, last = (load_file(place / "model.safetensors") for place in places)
    for name, value in first.items():
        unused = "adapters.pictures." in name and ".align." in name  # images have no flow
        still = is_backbone(name) or unused
        assert torch.equal(value, last[name]) == still, name


def test_frozen_weights_have_no_state_in_the_optimiser(run):
    state = torch.load(find_checkpoint(run) / "state.pt", weights_only=True)["optimiser"]
    weights = load_file(find_checkpoint(run) / "model.safetensors")
    trained = [name for name in weights if not is_backbone(name)]
    assert len(state["param_groups"][0]["params"]) == len(trained)
    assert sum(each["exp_avg"].numel() for each in state["state"].values()) <= sum(
        weights[name].numel() for name in trained
    )


@pytest.mark.parametrize("overrides", [FROZEN, ALONE])
def test_two_processes_have_the_gradients_of_one(recipe, tmp_path, overrides):
    settings = (*overrides, *SGD, "model.temporal.unit={kind: transformer, dropout: 0}")
    settings = (*settings, "model.temporal.flow={kind: vanilla}")  # without dropout too
    single = recorded(recipe, tmp_path / "one", 1, *settings)[0]
    ranks = recorded(recipe, tmp_path / "two", 2, *settings)
    for number, update in enumerate(single):
        for rank in ranks:
            assert_equal_gradients(update["gradients"], rank[number]["gradients"])
