"""Every recipe that comes with ivvit is valid, builds, and is found wherever ivvit is installed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch
from conftest import clean_environment

from ivvit_cli.config import dump_recipe, load_recipe
from ivvit_cli.models import build_model
from ivvit_cli.recipes_dir import recipes_dir, shipped_recipes

ROOT = Path(__file__).parents[1]
RECIPES = sorted(shipped_recipes())
PAPER = [
    "iv-vit",
    "iv-vit-separate",
    "iv-vit-in21k",
    "iv-vit-images",
    "iv-vit-videos",
    "iv-vit-scratch",
]


def test_the_checkout_is_where_its_recipes_are_found() -> None:
    assert recipes_dir() == ROOT / "recipes"
    assert set(PAPER) <= set(RECIPES)


@pytest.mark.parametrize("name", RECIPES)
def test_a_shipped_recipe_is_valid_and_its_model_builds(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.description
    with torch.device("meta"):
        model = build_model(recipe.model.model_dump(), dict.fromkeys(recipe.data, 10))
    assert all(parameter.is_meta for parameter in model.parameters())
    assert recipe.input.size in (None, model.input.size)


@pytest.mark.parametrize("name", RECIPES)
def test_a_shipped_recipe_says_what_it_is_for(name: str) -> None:
    assert shipped_recipes()[name].read_text().startswith("# ")


@pytest.mark.parametrize("name", RECIPES)
def test_a_shipped_recipe_survives_its_own_dump(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name)
    (tmp_path / "dump.yaml").write_text(dump_recipe(recipe))
    assert load_recipe(str(tmp_path / "dump.yaml")) == recipe


def test_the_paper_s_settings() -> None:
    recipe = load_recipe("iv-vit")
    assert list(recipe.data) == ["tiny-imagenet", "cifar100", "ucf101", "mini-kinetics"]
    assert {data.batch for data in recipe.data.values()} == {6}
    for name in ("ucf101", "mini-kinetics"):
        clip, augment = recipe.data[name].clip, recipe.data[name].augment
        assert clip is not None
        assert (clip.sample, clip.frames, clip.seconds) == ("window", 16, 2.67)
        assert (augment.crop, augment.short_side) == ("short_side", (224, 320))
    for name in ("tiny-imagenet", "cifar100"):
        augment = recipe.data[name].augment
        assert (augment.crop, augment.area) == ("random_resized", (0.08, 1.0))
        assert augment.ratio == (3 / 4, 4 / 3)
    assert (recipe.schedule.kind, recipe.schedule.iterations) == ("sequential", 20_000)
    assert (recipe.optim.name, recipe.optim.lr, recipe.optim.weight_decay) == ("adamw", 1e-5, 5e-5)
    assert recipe.optim.lr_schedule == "constant"


def test_the_settings_of_msca() -> None:
    recipe = load_recipe("msca-k400")
    (data,) = recipe.data.values()
    assert data.clip is not None
    assert (data.clip.sample, data.clip.frames, data.clip.stride) == ("dense", 8, 32)
    assert (data.batch, recipe.train.accumulate, recipe.schedule.epochs) == (420, 10, 12)
    optim = recipe.optim
    assert (optim.name, optim.lr, optim.momentum, optim.weight_decay) == ("sgd", 0.1, 0.9, 0)
    assert (optim.lr_schedule, optim.milestones, optim.gamma) == ("step", ("10ep",), 0.1)
    assert (recipe.eval.views, recipe.eval.average) == ("10x3", "logits")
    assert (data.augment.short_side, data.augment.colour) == ((224, 329), 0.1)


def test_tokshift_is_trained_as_msca_but_for_longer() -> None:
    own = {"description", "model", "schedule", "optim", "eval"}
    longer, base = load_recipe("tokshift-k400"), load_recipe("msca-k400")
    assert longer.model_dump(exclude=own) == base.model_dump(exclude=own)
    assert (longer.schedule.epochs, longer.optim.milestones) == (18, ("10ep", "15ep"))


TIMESFORMERS = {  # frames, stride, pixels, short sides
    "timesformer-k400": (8, 32, 224, (256, 320)),
    "timesformer-hr-k400": (16, 16, 448, (448, 512)),
    "timesformer-l-k400": (96, 4, 224, (256, 320)),
    "timesformer-ssv2": (8, None, 224, (256, 320)),
}


@pytest.mark.parametrize("name", TIMESFORMERS)
def test_the_settings_of_timesformer(name: str) -> None:
    recipe = load_recipe(name)
    ((dataset, data),) = recipe.data.items()
    clip, size = data.clip, recipe.model.backbone_args.get("img_size", 224)
    assert clip is not None
    assert (clip.frames, clip.stride, size, data.augment.short_side) == TIMESFORMERS[name]
    assert recipe.model.temporal.model_dump() == {"kind": "divided", "frames": clip.frames}
    assert (data.augment.flip, clip.sample) == (
        (0, "segment") if dataset == "ssv2" else (0.5, "dense")
    )
    optim = recipe.optim.model_dump()
    assert (data.batch, recipe.schedule.epochs, recipe.eval.views) == (64, 15, "1x3")
    assert (optim["name"], optim["lr"], optim["weight_decay"]) == ("sgd", 5e-3, 1e-4)
    assert (optim["momentum"], optim["nesterov"]) == (0.9, True)
    assert (optim["milestones"], optim["gamma"]) == (("11ep", "14ep"), 0.1)


def test_a_frozen_transfer_is_its_target_s_training_but_for_what_is_trained() -> None:
    """CoVeR 3.2, and the small ones that a CPU can do."""
    pairs = {"cover-frozen-ssv2": "timesformer-ssv2", "iv-vit-small-probe": "iv-vit-small-videos"}
    for name, target in pairs.items():
        probe, base = load_recipe(name), load_recipe(target)
        assert probe.model_dump(exclude={"description", "model"}) == base.model_dump(
            exclude={"description", "model"}
        )
        assert (probe.model.weights or "").removeprefix("run:runs/") in RECIPES
        assert probe.model.freeze == ("encoder.*",)
        own = {"weights": base.model.weights, "freeze": ()}
        assert probe.model.model_copy(update=own) == base.model


def test_transfer_starts_from_runs_and_trains_one_dataset() -> None:
    for name in ("cover-transfer-k400", "cover-transfer-ssv2", "iv-vit-small-fine-tune"):
        recipe = load_recipe(name)
        assert (recipe.model.weights or "").startswith("run:")
        assert recipe.model.freeze == ()
        assert len(recipe.data) == 1


def test_what_the_baselines_of_am_flow_train() -> None:
    """ST-Adapter's code: 7.1 M of adapters for Kinetics, 14.2 M for SSv2; AdaptFormer's: 1.2 M."""
    for name, adapters in (("st-adapter-k400", 7.1), ("st-adapter-ssv2", 14.2)):
        assert _trained_beside_heads(name) / 1e6 == pytest.approx(adapters, abs=0.06)
    assert _trained_beside_heads("adaptformer-ssv2") / 1e6 == pytest.approx(1.19, abs=0.01)
    assert _trained_beside_heads("linear-probe-k400") == 0


def _trained_beside_heads(name: str) -> int:
    recipe = load_recipe(name)
    with torch.device("meta"):
        model = build_model(recipe.model.model_dump(), dict.fromkeys(recipe.data, 10))
    return sum(p.numel() for p in model.encoder.parameters() if p.requires_grad)


ISSUED = [
    "tokshift-k400",
    "msca-k400",
    "timesformer-k400",
    "timesformer-ssv2",
    "timesformer-hr-k400",
    "timesformer-l-k400",
    "iv-vit-separate",
    "polyvit",
    "polyvit-in21k",
    "polyvit-scratch",
]


def test_every_temporal_model_has_its_recipes() -> None:
    assert set(ISSUED) <= set(RECIPES)


def test_the_three_sources_of_polyvit() -> None:
    rows = {name: load_recipe(name).model for name in ("polyvit", "polyvit-in21k")}
    vivit = {"encoder.tubelet_*": "hf:google/vivit-b-16x2-kinetics400"}
    images = {"encoder.vit.patch_embed.*": "timm:vit_base_patch16_224.orig_in21k"}
    assert rows["polyvit"].parts == vivit
    assert rows["polyvit-in21k"].parts == vivit | images
    assert {row.weights for row in rows.values()} == {"weights/tokshift-k400.pth"}
    scratch = load_recipe("polyvit-scratch").model
    assert (scratch.weights, set(scratch.parts.values())) == (None, {None})


@pytest.mark.parametrize("name", ["polyvit", "polyvit-in21k", "polyvit-scratch"])
def test_polyvit_is_trained_as_iv_vit_but_on_other_batches(name: str) -> None:
    recipe, base = load_recipe(name), load_recipe("iv-vit")
    own = {"description", "model", "data"}
    assert recipe.model_dump(exclude=own) == base.model_dump(exclude=own)
    for dataset, data in recipe.data.items():
        theirs = base.data[dataset]
        clip = theirs.clip and theirs.clip.model_copy(update={"frames": 32})
        assert data == theirs.model_copy(update={"batch": 3, "clip": clip})


@pytest.mark.parametrize("name", PAPER)
def test_the_relatives_differ_only_in_what_they_say(name: str) -> None:
    recipe, base = load_recipe(name), load_recipe("iv-vit")
    own = {"description", "model", "data"}
    assert recipe.model_dump(exclude=own) == base.model_dump(exclude=own)
    assert all(base.data[dataset] == data for dataset, data in recipe.data.items())


def test_the_wheel_carries_the_recipes(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    site = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--quiet"]
    subprocess.run([*install, "--target", str(site), str(wheel)], check=True, capture_output=True)
    assert not (site / "recipes").exists()
    done = subprocess.run(
        [sys.executable, "-m", "ivvit_cli", "recipe", "ls", "--json"],
        cwd=tmp_path,
        env=clean_environment() | {"PYTHONPATH": os.fspath(site)},
        check=True,
        capture_output=True,
        text=True,
    )
    assert all(f'"name": "{name}"' in done.stdout for name in RECIPES)
    code = "import ivvit_cli.recipes_dir as r; print(r.recipes_dir())"
    where = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=clean_environment() | {"PYTHONPATH": os.fspath(site)},
        check=True,
        capture_output=True,
        text=True,
    )
    assert where.stdout.strip() == os.fspath(site / "ivvit_cli" / "_recipes")


@pytest.mark.parametrize("name", RECIPES)
def test_weights_that_a_recipe_takes_from_timm_exist(name: str) -> None:
    weights = load_recipe(name).model.weights or ""
    if weights.startswith("timm:"):
        config = timm.get_pretrained_cfg(weights.removeprefix("timm:"))
        assert config is not None
        assert config.has_weights
