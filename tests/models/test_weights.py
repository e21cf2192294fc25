"""Weights of every source reach the right tensors; a poor match is refused and changes nothing."""

import re
from collections import Counter
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from foreign_names import to_tokshift
from safetensors.torch import save_file
from small_models import assert_same, images, small_model, timm_vit
from torch import Tensor

from ivvit_cli.errors import InputError, UsageError
from ivvit_cli.models import JointModel, load_weights
from ivvit_cli.training.checkpoint import link, save_checkpoint

State = dict[str, Tensor]


def saved(state: State, path: Path) -> str:
    save_file({key: value.contiguous() for key, value in state.items()}, path)
    return str(path)


@pytest.mark.parametrize("prefix", ["", "module.", "module.base_model.", "model.", "backbone."])
@pytest.mark.parametrize("naming", ["timm", "tokshift"])
def test_foreign_names_and_their_classifier(tmp_path: Path, naming: str, prefix: str) -> None:
    vit, model = timm_vit(), small_model(heads={"a": 5, "k.400": 7})
    state = vit.state_dict() if naming == "timm" else to_tokshift(vit.state_dict())
    source = saved(
        {prefix + key: value for key, value in state.items()}, tmp_path / "w.safetensors"
    )
    other = model.heads["a"].state_dict()
    report = load_weights(model, source, head="k.400")
    assert (report.format, report.share, report.missing, report.unused) == (naming, 1, (), ())
    assert_same(model, vit, "k.400")
    assert all(torch.equal(other[key], model.heads["a"].state_dict()[key]) for key in other)


def test_a_trainers_checkpoint_of_torch(tmp_path: Path) -> None:
    """As TokenShift's trainer saves: DDP's prefix, the optimiser, a scheduler with a Counter."""
    vit, model = timm_vit(), small_model()
    state = {f"module.base_model.{k}": v for k, v in to_tokshift(vit.state_dict()).items()}
    path = tmp_path / "best.pth"
    document = {
        "epoch": 18,
        "state_dict": state,
        "best_acc1": 77.28,
        "optimizer": {"state": {0: {"momentum_buffer": torch.ones(3)}}, "param_groups": []},
        "scheduler": {"milestones": Counter([10, 15]), "gamma": 0.1},
    }
    torch.save(document, path)
    report = load_weights(model, str(path))
    assert report.unused == ("head.linears.0.bias", "head.linears.0.weight")
    assert_same(model, vit)
    torch.save({"model": {"state_dict": state}}, path)
    assert load_weights(small_model(), str(path)).share == 1


def save_run(run: Path, model: JointModel, iteration: int) -> Path:
    meta = {
        "ivvit": "0",
        "model": {},
        "input": {"size": 16, "mean": (0, 0, 0), "std": (1, 1, 1)},
        "eval": {"views": "1x1", "average": "logits", "batch": 1, "precision": "fp32"},
        "heads": {},
        "metrics": {},
    }
    return save_checkpoint(run, iteration, weights=model.state_dict(), state={}, meta=meta)


@pytest.mark.parametrize(
    "place", ["r", "r@step-3", "r@best-a.b", "r@last", "r/checkpoints/step-00000003"]
)
def test_a_run_or_a_checkpoint(tmp_path: Path, place: str) -> None:
    trained = small_model(heads={"a.b": 4, "c": 2}, temporal={"kind": "token_shift"}, seed=5)
    run = tmp_path / "r"
    if place not in ("r", "r@last"):
        save_run(run, small_model(), 2)
    link(run, "best-a.b", save_run(run, trained, 3))
    if place not in ("r", "r@last"):
        save_run(run, small_model(), 4)
    model = small_model(heads={"a.b": 4, "new": 3}, temporal={"kind": "token_shift"})
    new = model.heads["new"].state_dict()
    report = load_weights(model, f"{tmp_path}/{place}", head="a.b")
    clips = images(2, 3, 3, 16, 16)
    assert torch.equal(model(clips, "a.b"), trained(clips, "a.b"))
    assert report.unused == ("heads.c.linears.0.bias", "heads.c.linears.0.weight")
    assert all(torch.equal(new[key], model.heads["new"].state_dict()[key]) for key in new)


@pytest.mark.parametrize("place", ["r", "r@step-3"])
def test_a_damaged_run_is_refused(tmp_path: Path, place: str) -> None:
    weights = save_run(tmp_path / "r", small_model(), 3) / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1  # a bit of the last weight
    weights.write_bytes(content)
    with pytest.raises(InputError, match=r"model\.safetensors: damaged"):
        load_weights(small_model(), f"{tmp_path}/{place}")


@pytest.mark.parametrize("head", ["a", "b"])
def test_a_head_takes_its_own_classifier(tmp_path: Path, head: str) -> None:
    heads = {"a": 4, "b": 4, "c": 4}
    trained, model = small_model(heads=heads, seed=5), small_model(heads=heads)
    load_weights(model, saved(trained.state_dict(), tmp_path / "w.safetensors"), head=head)
    x = images(2, 3, 16, 16)
    same = [torch.equal(model(x, name), trained(x, name)) for name in heads]
    assert same == [name == head for name in heads]


def test_the_only_head_of_a_run_fits_a_head_of_another_name(tmp_path: Path) -> None:
    trained = small_model(heads={"k400": 4}, seed=5)
    source = saved(trained.state_dict(), tmp_path / "w.safetensors")
    model = small_model(heads={"mini": 4})
    load_weights(model, source, head="mini")
    x = images(2, 3, 16, 16)
    assert torch.equal(model(x, "mini"), trained(x, "k400"))


@pytest.mark.parametrize("registers", [0, 2])
@pytest.mark.parametrize("no_embed_class", [False, True])
def test_a_position_embedding_is_resampled(
    tmp_path: Path, registers: int, no_embed_class: bool
) -> None:
    """A plane stays the plane of the new grid's centres, and prefix tokens stay as they are."""
    args = {"reg_tokens": registers, "no_embed_class": no_embed_class}
    large, small = small_model(img_size=128, **args), small_model(img_size=64, **args)
    prefix = 0 if no_embed_class else 1 + registers
    state = large.encoder.vit.state_dict()
    state["pos_embed"][:, prefix:] = _plane(16)
    report = load_weights(small, saved(state, tmp_path / "w.safetensors"))
    ours = small.encoder.vit.pos_embed
    assert torch.equal(ours[:, :prefix], state["pos_embed"][:, :prefix])
    inner = slice(2, 6)  # out of the edges' reach
    ours, plane = ours[:, prefix:].view(8, 8, 24), _plane(8).view(8, 8, 24)
    torch.testing.assert_close(ours[inner, inner], plane[inner, inner], rtol=0, atol=1e-5)
    assert report.resized == ("encoder.vit.pos_embed",)
    assert f"(1x{256 + prefix}x24 -> 1x{64 + prefix}x24)" in str(report)


def _plane(side: int) -> Tensor:
    centres = (torch.arange(side) + 0.5) / side
    height = centres[:, None] + 2 * centres[None]
    return height.flatten()[:, None].expand(-1, 24)[None]


def test_a_patch_embedding_is_resampled(tmp_path: Path) -> None:
    """Patches that are enlarged give what the small ones gave (FlexiViT Eq. 3)."""
    small = small_model(patch_size=4, img_size=16)
    large = small_model(patch_size=8, img_size=32)
    source = saved(small.encoder.vit.state_dict(), tmp_path / "w.safetensors")
    report = load_weights(large, source)
    assert report.resized == ("encoder.vit.patch_embed.proj.weight",)
    patch = images(1, 3, 4, 4)
    bigger = F.interpolate(patch, (8, 8), mode="bicubic", antialias=True)
    before = F.conv2d(patch, small.encoder.vit.patch_embed.proj.weight)
    after = F.conv2d(bigger, large.encoder.vit.patch_embed.proj.weight)
    torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("theirs", "ours", "message"),
    [
        (11, 12, "gives nothing to 1 of the model's 12 blocks"),
        (12, 11, "has 12 blocks, but the model has 11"),
        (5, 3, "has 5 blocks, but the model has 3"),
    ],
)
def test_another_depth_is_refused(tmp_path: Path, theirs: int, ours: int, message: str) -> None:
    """11 of 12 blocks are more than MIN_SHARE of the tensors, and yet leave a random block."""
    source = saved(small_model(depth=theirs).encoder.vit.state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(InputError, match=message):
        load_weights(small_model(depth=ours), source)


def test_what_is_left_over_is_reported(tmp_path: Path) -> None:
    state = small_model().encoder.vit.state_dict()
    state |= {f"decoder_blocks.{number}.norm1.weight": torch.ones(1) for number in range(24)}
    report = load_weights(small_model(), saved(state, tmp_path / "w.safetensors"))
    assert (report.share, report.missing, len(report.unused)) == (1, (), 24)
    assert "unused (24): " in str(report)
    assert "and 18 more" in str(report)


def test_a_small_part_may_be_missing(tmp_path: Path) -> None:
    state = small_model(depth=5, seed=8).encoder.vit.state_dict()
    norm = state.pop("norm.weight"), state.pop("norm.bias")
    model = small_model(depth=5)
    report = load_weights(model, saved(state, tmp_path / "w.safetensors"))
    assert report.missing == ("encoder.vit.norm.weight", "encoder.vit.norm.bias")
    assert report.share == pytest.approx(64 / 66)
    assert "64 of 66" in report.lines()[0]
    assert not torch.equal(model.encoder.vit.norm.weight, norm[0])


@pytest.mark.parametrize(
    ("change", "message", "hint"),
    [
        ({"embed_dim": 48}, "is 1x1x48 there and 1x1x24 in the model", "same backbone"),
        ({"depth": 1}, "lacks encoder.vit.blocks.1.norm1.weight", "encoder.vit.blocks.0.norm1"),
    ],
)
def test_a_poor_match_is_refused_and_changes_nothing(
    tmp_path: Path, change: dict[str, int], message: str, hint: str
) -> None:
    source = saved(
        small_model(seed=9, **change).encoder.vit.state_dict(), tmp_path / "w.safetensors"
    )
    model = small_model()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(InputError, match=message) as caught:
        load_weights(model, source)
    assert hint in str(caught.value.hint)
    assert re.search(r"fits only \d+ of 30 encoder tensors", str(caught.value))
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_misnamed_tensors_are_a_poor_match(tmp_path: Path) -> None:
    """Biases and norms are few numbers but many tensors: without them the match is poor."""
    state = small_model().encoder.vit.state_dict()
    renamed = {key.replace("norm2", "ln_2"): value for key, value in state.items()}
    source = saved(renamed, tmp_path / "w.safetensors")
    with pytest.raises(InputError, match="fits only 26 of 30") as caught:
        load_weights(small_model(), source)
    assert "encoder.vit.blocks.0.ln_2.weight" in str(caught.value.hint)


def test_keys_of_no_known_format(tmp_path: Path) -> None:
    source = saved({"layer1.conv.weight": torch.ones(3)}, tmp_path / "w.safetensors")
    with pytest.raises(InputError, match=r"no known format \(1 tensors: layer1\.conv\.weight"):
        load_weights(small_model(), source)


def test_parts_that_cannot_be_joined(tmp_path: Path) -> None:
    state = to_tokshift(timm_vit().state_dict())
    state["transformer.encoder.layer.0.attn.key.weight"] = torch.ones(2, 3, 4)
    source = saved(state, tmp_path / "w.safetensors")
    with pytest.raises(InputError, match=r"is damaged \(tokshift\)"):
        load_weights(small_model(), source)


def test_a_classifier_that_does_not_fit(tmp_path: Path) -> None:
    vit, model = timm_vit(classes=7), small_model(heads={"a": 5})
    before = {key: value.clone() for key, value in model.state_dict().items()}
    source = saved(vit.state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(UsageError, match="is 7x24, 5x24 is needed"):
        load_weights(model, source, head="a")
    with pytest.raises(UsageError, match="no head b") as caught:
        load_weights(model, source, head="b")
    assert caught.value.hint == "it has a"
    headless = {k: v for k, v in vit.state_dict().items() if not k.startswith("head")}
    with pytest.raises(UsageError, match="no classifier for head a"):
        load_weights(model, saved(headless, tmp_path / "h.safetensors"), head="a")
    runs = small_model(heads={"x.y": 5, "z": 5}).state_dict()
    with pytest.raises(UsageError, match="no classifier for head a") as caught:
        load_weights(model, saved(runs, tmp_path / "r.safetensors"), head="a")
    assert caught.value.hint == "it has x.y, z"
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
