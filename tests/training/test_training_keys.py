"""Keys of a training that change what is learned: layer decay, weight averages, mixed samples."""

import shutil

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F
from workers import launch, outcome, train, wait

from ivvit_cli.models import build_model
from ivvit_cli.runs import find_checkpoint
from ivvit_cli.training.average import WeightAverage
from ivvit_cli.training.mixing import Mixing, mix
from ivvit_cli.training.optim import build_optimiser, parameter_groups, set_rate
from ivvit_cli.training.rand_augment import RandAugment

pytest_plugins = ["training_fixtures"]

ARGS = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 3, "num_heads": 2}
MODEL = {"backbone": "vit_tiny_patch16_224", "backbone_args": ARGS}


def rates(temporal, decay):
    """Return the rate of every parameter by its name, at a base of 1."""
    model = build_model(MODEL | {"temporal": temporal}, {"a": 2})
    groups = parameter_groups(model, decay)
    optimiser = build_optimiser(groups, name="sgd", lr=1.0, weight_decay=0.0)
    set_rate(optimiser, 1.0)
    by_id = {id(p): group["lr"] for group in optimiser.param_groups for p in group["params"]}
    return {name: by_id[id(p)] for name, p in model.named_parameters()}


def test_layers_near_the_input_learn_more_slowly():
    found = rates({"kind": "divided", "frames": 4}, 0.5)
    expected = {
        "encoder.vit.cls_token": 1 / 16,
        "encoder.vit.pos_embed": 1 / 16,
        "encoder.vit.patch_embed.proj.weight": 1 / 16,
        "encoder.time_embed": 1 / 16,
        "encoder.vit.blocks.0.mlp.fc1.weight": 1 / 8,
        "encoder.vit.blocks.1.temporal_fc.bias": 1 / 4,
        "encoder.vit.blocks.2.attn.qkv.weight": 1 / 2,
        "encoder.vit.norm.weight": 1,
    }
    assert {name: found[name] for name in expected} == expected
    assert all(rate == 1 for name, rate in found.items() if name.startswith("heads."))


def test_adapters_learn_at_the_whole_rate_and_without_decay_all_do():
    adapted = rates({"kind": "adaptformer", "width": 4}, 0.5)
    assert {rate for name, rate in adapted.items() if "adapters." in name} == {1}
    assert set(rates({"kind": "none"}, None).values()) == {1}


def test_an_average_is_that_of_a_naive_loop():
    parameter = nn.Parameter(torch.tensor([1.0, 2.0]))
    average = WeightAverage([parameter], 0.9)
    expected = parameter.detach().clone().double()
    for step in range(1, 200):
        with torch.no_grad():
            parameter += torch.sin(torch.tensor([float(step), 2.0 * step]))
        average.update()
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * parameter.detach().double()
    torch.testing.assert_close(average.values[0].double(), expected, rtol=1e-5, atol=1e-5)
    held = parameter.detach().clone()
    with average.in_place():
        torch.testing.assert_close(parameter.double(), expected, rtol=1e-5, atol=1e-5)
    assert torch.equal(parameter, held)


def test_the_average_is_what_is_saved_and_validated(recipe, tmp_path):
    one = ("schedule.iterations=8", "checkpoint.every=8", "eval.every=8", "optim.lr=0.01")
    assert wait(launch(train, recipe, tmp_path / "plain", *one)) == [0]
    assert wait(launch(train, recipe, tmp_path / "slow", *one, "train.ema=0.95")) == [0]
    plain, slow = (
        load_file(find_checkpoint(tmp_path / name) / "model.safetensors")
        for name in ("plain", "slow")
    )
    state = torch.load(find_checkpoint(tmp_path / "slow") / "state.pt", weights_only=True)
    weights = [plain[name] for name in plain]
    assert state["average"]["updates"] == 16  # two datasets
    shapes = {tuple(each.shape) for each in state["average"]["weights"]}
    assert shapes == {tuple(each.shape) for each in weights}
    name = "encoder.vit.blocks.0.mlp.fc1.weight"
    assert not torch.equal(plain[name], slow[name])
    assert any(torch.equal(plain[name], each) for each in state["average"]["weights"])


MIXED = ("data.pictures.augment.mixup=0.8", "data.films.augment.cutmix=1")


RANDOM = ("data.films.augment.rand_augment={ops: 2}",)


@pytest.mark.parametrize("keys", [("train.ema=0.9",), MIXED, ("optim.layer_decay=0.7",), RANDOM])
def test_a_resumed_run_is_the_whole_run(recipe, tmp_path, keys):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    settings = ["checkpoint.every=2", "checkpoint.keep=9", "eval.every=4", *keys]
    assert wait(launch(train, recipe, whole, *settings)) == [0]
    shutil.copytree(whole, cut, symlinks=True)
    for step in (6, 8):
        shutil.rmtree(cut / f"checkpoints/step-{step:08d}")
    assert wait(launch(train, recipe, cut)) == [0]
    assert outcome(cut) == outcome(whole)
    if "train.ema=0.9" in keys:
        states = [
            torch.load(find_checkpoint(run) / "state.pt", weights_only=True)["average"]
            for run in (whole, cut)
        ]
        assert all(map(torch.equal, states[0]["weights"], states[1]["weights"]))


def test_without_its_average_a_run_goes_on_with_the_weights_of_training(recipe, tmp_path):
    """Which the average has in its place in the checkpoint."""
    run, still = tmp_path / "run", ("optim.lr=1e-30", "optim.weight_decay=0", "optim.warmup=0")
    assert wait(launch(train, recipe, run, "train.ema=0.9", "schedule.iterations=3")) == [0]
    state = torch.load(find_checkpoint(run) / "state.pt", weights_only=True)
    assert wait(launch(train, recipe, run, "train.ema=null", "schedule.iterations=4", *still)) == [
        0
    ]
    after = load_file(find_checkpoint(run) / "model.safetensors")
    for weight in state["average"]["weights"]:
        assert any(torch.equal(weight, other) for other in after.values())


def test_a_schedule_that_divides_the_length_keeps_it(recipe, tmp_path):
    """With another length, a dataset's turn would begin in the middle of what it has seen."""
    turns = ("schedule.kind=task_by_task", "schedule.iterations=2", "eval.every=null")
    assert wait(launch(train, recipe, tmp_path / "run", *turns)) == [0]
    assert wait(launch(train, recipe, tmp_path / "run", "schedule.iterations=4")) == [2]


@pytest.mark.parametrize("shape", [(5, 3, 8, 8), (5, 2, 3, 8, 8)])
def test_mixup_is_a_weighted_mean_of_pairs(shape):
    torch.manual_seed(0)
    x = torch.randn(shape)
    mixed = mix(x, 4, Mixing(mixup=0.4))
    assert mixed.partners.tolist() == [3, 2, 1, 0, 4]  # the last is a filler
    assert 0 < mixed.share < 1
    for k, partner in enumerate(mixed.partners.tolist()):
        expected = mixed.share * x[k] + (1 - mixed.share) * x[partner]
        torch.testing.assert_close(mixed.x[k], expected)


@pytest.mark.parametrize("shape", [(4, 3, 9, 7), (4, 2, 3, 9, 7)])
def test_cutmix_replaces_a_box_and_says_how_much_is_left(shape):
    for seed in range(20):
        torch.manual_seed(seed)
        x = torch.arange(4.0).view(4, *[1] * (len(shape) - 1)).expand(shape)
        mixed = mix(x, 4, Mixing(cutmix=1.0))
        own = (mixed.x == x).float().mean(tuple(range(1, len(shape))))
        torch.testing.assert_close(own, torch.full((4,), mixed.share))
        assert torch.equal((mixed.x[0] == 3), (mixed.x[3] == 0))  # one box for all
        if len(shape) == 5:
            assert torch.equal(mixed.x[:, 0], mixed.x[:, 1])


def test_either_way_of_mixing_comes_up():
    torch.manual_seed(0)
    x = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 3, 8, 8)
    kinds = {
        bool(torch.isin(mix(x, 4, Mixing(1.0, 1.0)).x, torch.arange(4.0)).all()) for _ in range(20)
    }
    assert kinds == {True, False}


def test_the_loss_of_mixed_samples_is_that_of_both_labels(recipe, tmp_path):
    from test_joint_schedules import make

    trainer = make(recipe, tmp_path, *MIXED, "model.backbone_args.drop_path_rate=0")
    update = trainer.update.eval()
    for head in update.model.heads.parameters():
        nn.init.normal_(head, generator=torch.Generator().manual_seed(0))
    with trainer._loader(trainer.schedule.between(0, 1)) as loader:
        batch = next(loader)["pictures"]
    torch.manual_seed(3)
    found = update({"pictures": batch})["pictures"].loss
    torch.manual_seed(3)
    mixed = mix(batch.render(32, update.mean, update.std), 6, Mixing(mixup=0.8))
    chances = update.model(mixed.x, "pictures").log_softmax(1)
    one, other = (F.nll_loss(chances, labels) for labels in (batch.labels, batch.labels.flip(0)))
    torch.testing.assert_close(found, mixed.share * one + (1 - mixed.share) * other)


@pytest.mark.parametrize("shape", [(6, 3, 16, 16), (6, 4, 3, 16, 16)])
def test_rand_augment_changes_all_frames_of_a_clip_alike(shape):
    torch.manual_seed(0)
    x = torch.rand(shape[:-4] and (shape[0], *[1] * (len(shape) - 4), *shape[-3:])).expand(shape)
    changed = RandAugment(2, 20)(x)
    assert changed.shape == x.shape
    assert 0 <= changed.min() <= changed.max() <= 1
    assert sum(not torch.allclose(a, b, atol=0.01) for a, b in zip(x, changed, strict=True)) > 2
    if len(shape) == 5:
        assert torch.equal(changed[:, :1].expand(shape), changed)
    torch.manual_seed(1)
    first = RandAugment(2, 9)(x)
    torch.manual_seed(1)
    assert torch.equal(RandAugment(2, 9)(x), first)
