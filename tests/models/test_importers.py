"""Each importer brings every tensor of its source to its place, and knows no other's files."""

import os
from argparse import Namespace
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import foreign_names as foreign
import pytest
import torch
from foreign_names import timm_names, to_google
from safetensors.torch import save_file
from small_models import images, randomise, small_model, timm_vit
from torch import Tensor
from torchvision.models.vision_transformer import VisionTransformer

from ivvit_cli.errors import InputError, UsageError
from ivvit_cli.models import JointModel, load_weights
from ivvit_cli.models.weights import IMPORTERS, import_state
from ivvit_cli.models.weights.classes import load_classifier, same_classes
from ivvit_cli.models.weights.convert import convert_weights
from ivvit_cli.models.weights.importers.videomae import sinusoids
from ivvit_cli.models.weights.source import Source

State = dict[str, Tensor]
TUBELETS = {"kind": "tubelet", "frames": 4, "depth": 2}
DIVIDED = {"kind": "divided", "frames": 4}
PLAIN = {"class_token": False, "global_pool": "avg"}
IMAGES = ("encoder.vit.pos_embed", "encoder.vit.patch_embed.proj.weight")
IMAGES += ("encoder.vit.patch_embed.proj.bias",)


@dataclass(frozen=True)
class Case:
    """One source of weights: its format, its names, and the model that takes them."""

    format: str
    name: Callable[[State], State]
    backbone: str = "vit_tiny_patch16_224"
    temporal: dict[str, Any] | None = None
    args: dict[str, Any] = field(default_factory=dict)
    missing: tuple[str, ...] = ()

    def model(self, seed: int) -> JointModel:
        args = {"depth": 5, **self.args}
        built = small_model(self.backbone, temporal=self.temporal, seed=seed, **args)
        if "videomae" in self.format:  # whose keys have no bias
            with torch.no_grad():
                for block in built.encoder.vit.blocks:
                    block.attn.qkv.bias.chunk(3)[1].zero_()
        return built


CASES = {
    "timm": Case("timm", dict),
    "tokshift": Case("tokshift", foreign.to_tokshift),
    "iv-vit": Case("tokshift", foreign.to_iv_vit),
    "torchvision": Case("torchvision", foreign.to_torchvision),
    "poly-vit": Case("torchvision", foreign.to_poly_vit, temporal=TUBELETS),
    "timesformer": Case("timesformer", foreign.to_timesformer, temporal=DIVIDED),
    "dinov2": Case(
        "dinov2", foreign.to_dinov2, "vit_giant_patch14_reg4_dinov2", args={"mlp_ratio": 2}
    ),
    "videomae": Case(
        "videomae", foreign.to_videomae, temporal=TUBELETS, args=PLAIN, missing=IMAGES
    ),
    "videomae-pretraining": Case(
        "videomae", foreign.to_videomae_pretraining, temporal=TUBELETS, args=PLAIN, missing=IMAGES
    ),
    "hf-vit": Case("hf-vit", foreign.to_hf_vit),
    "hf-vit-5": Case("hf-vit", foreign.to_new_hf_vit),
    "hf-dinov2": Case(
        "hf-dinov2", foreign.to_hf_dinov2, "vit_giant_patch14_reg4_dinov2", args={"mlp_ratio": 2}
    ),
    "hf-clip": Case("hf-clip", foreign.to_hf_clip, "vit_base_patch16_clip_quickgelu_224"),
    "hf-timesformer": Case("hf-timesformer", foreign.to_hf_timesformer, temporal=DIVIDED),
    "hf-vivit": Case("hf-vivit", foreign.to_hf_vivit, temporal=TUBELETS, missing=IMAGES),
    "hf-videomae": Case(
        "hf-videomae", foreign.to_hf_videomae, temporal=TUBELETS, args=PLAIN, missing=IMAGES
    ),
}
HEADLESS = ("videomae-pretraining", "hf-clip")


def saved(state: State, path: Path) -> str:
    save_file({key: value.contiguous() for key, value in state.items()}, path)
    return str(path)


@pytest.mark.parametrize("case", CASES)
def test_every_tensor_reaches_its_place(tmp_path: Path, case: str) -> None:
    source = CASES[case]
    trained, model = source.model(seed=3), source.model(seed=4)
    state = source.name(timm_names(trained.state_dict()))
    head = None if case in HEADLESS else "a"
    if case == "iv-vit":  # which has several heads
        (tmp_path / "w.safetensors").unlink(missing_ok=True)
        del state["base_model.head.head.CIFAR100.weight"]
    report = load_weights(model, saved(state, tmp_path / "w.safetensors"), head=head)
    assert (report.format, report.resized) == (source.format, ())
    assert set(report.missing) == set(source.missing)
    theirs, placed = trained.state_dict(), model.state_dict()
    taken = [*report.loaded, *(name for name in theirs if head and name.startswith("heads."))]
    assert len(taken) >= len(theirs) - len(source.missing) - 3
    for name in taken:
        torch.testing.assert_close(placed[name], theirs[name], rtol=0, atol=1e-6, msg=name)


def all_formats() -> dict[str, State]:
    states = {
        name: case.name(timm_names(case.model(seed=3).state_dict())) for name, case in CASES.items()
    }
    google = to_google(timm_vit().state_dict())
    states["google"] = {key: torch.from_numpy(value) for key, value in google.items()}
    return states | {"ivvit": small_model().state_dict()}


@pytest.mark.parametrize("prefix", ["", "module.", "model.", "module.base_model.", "_orig_mod."])
def test_no_two_importers_take_the_same_file(prefix: str) -> None:
    """`import_state` refuses what two importers match; here every format is of exactly one."""
    found = set()
    for name, state in all_formats().items():
        wrapped = {prefix + key: value for key, value in state.items()}
        format_name, _ = import_state(wrapped, name)
        assert format_name == (CASES[name].format if name in CASES else name)
        found.add(format_name)
    assert found == IMPORTERS.keys()


def test_a_wrapper_of_an_encoder_comes_off() -> None:
    for name in ("timm", "dinov2", "videomae"):
        state = all_formats()[name]
        wrapped = {f"module.encoder.{key}": value for key, value in state.items()}
        assert import_state(wrapped, name)[0] == name


def test_two_formats_or_two_models_in_one_file_are_refused() -> None:
    states = all_formats()
    with pytest.raises(InputError, match="has the tensors of several formats: timm, tokshift"):
        import_state(states["timm"] | states["tokshift"], "w.pth")
    twice = {f"{who}.{k}": v for who in ("module", "model") for k, v in states["timm"].items()}
    with pytest.raises(InputError, match="holds two models: cls_token is there under several"):
        import_state(twice, "w.pth")


@pytest.mark.parametrize("name", ["hf-dinov2", "dinov2", "videomae", "hf-videomae", "hf-clip"])
def test_tensors_that_do_not_fit_together(name: str) -> None:
    state = all_formats()[name]
    for key in ("q_bias", "v_bias", "pos_embed", "position_embeddings", "position_embedding"):
        for whole in [whole for whole in state if key in whole]:
            for crafted in (torch.ones(()), torch.ones(0), torch.ones(2, 3)):
                with suppress(InputError):  # any other error is a fault; shapes are fitted later
                    import_state(state | {whole: crafted}, name)


def test_a_half_of_videomae_is_damaged() -> None:
    state = all_formats()["videomae"]
    del state["blocks.0.attn.v_bias"]
    with pytest.raises(InputError, match=r"is damaged \(videomae\): .*v_bias"):
        import_state(state, "w.pth")


def test_torchvisions_own_model_gives_the_same_numbers(tmp_path: Path) -> None:
    vit = randomise(
        VisionTransformer(
            image_size=16, patch_size=8, num_layers=2, num_heads=3, hidden_dim=24, mlp_dim=48,
            num_classes=5,
        )
    ).eval()  # fmt: skip
    model = small_model()
    report = load_weights(model, saved(vit.state_dict(), tmp_path / "w.safetensors"), head="a")
    assert (report.format, report.share, report.unused) == ("torchvision", 1, ())
    x = images(2, 3, 16, 16).double()
    difference = (model.double()(x, "a") - vit.double()(x)).abs().max()
    assert difference <= 1e-9


def test_places_of_videomae_are_the_papers_formula() -> None:
    """Vaswani et al., 3.5, entry by entry."""
    table = sinusoids(6, 8)[0]
    for number in range(6):
        for column in range(8):
            angle = torch.tensor(number / 10_000 ** ((column - column % 2) / 8))
            value = angle.sin() if column % 2 == 0 else angle.cos()
            assert table[number, column] == pytest.approx(float(value), abs=1e-6)


@pytest.mark.parametrize("case", ["iv-vit", "poly-vit"])
def test_a_head_per_dataset(tmp_path: Path, case: str) -> None:
    source = CASES[case]
    trained, model = source.model(seed=3), source.model(seed=4)
    name = {"iv-vit": "UCF101", "poly-vit": "Kinetics200"}[case]
    model.heads = torch.nn.ModuleDict({name.lower(): model.heads["a"]})
    state = source.name(timm_names(trained.state_dict()))
    load_weights(model, saved(state, tmp_path / "w.safetensors"), head=name.lower())
    ours, theirs = model.heads[name.lower()].state_dict(), trained.heads["a"].state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_a_checkpoint_of_videomaes_trainer(tmp_path: Path) -> None:
    """Its options are a namespace; that, and only that, may be beside the tensors."""
    source = CASES["videomae"]
    state = source.name(timm_names(source.model(seed=3).state_dict()))
    path = tmp_path / "checkpoint.pth"
    torch.save({"module": state, "epoch": 1, "args": Namespace(lr=1e-3, model="vit")}, path)
    assert load_weights(source.model(seed=4), str(path), head="a").format == "videomae"
    hostile = Namespace(lr=_Payload(str(tmp_path / "mark")))
    torch.save({"module": state, "args": hostile}, path)
    with pytest.raises(InputError, match="refused"):
        load_weights(source.model(seed=4), str(path))
    assert not (tmp_path / "mark").exists()


class _Payload:
    def __init__(self, mark: str) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (self.mark,)


@pytest.mark.parametrize(
    ("case", "backbone", "temporal", "args", "message", "hint"),
    [
        ("videomae", "vit_tiny_patch16_224", TUBELETS, {}, "has no class token", "class_token"),
        ("hf-vivit", "vit_tiny_patch16_224", None, {}, "embeds clips in tubelets", "tubelet"),
        ("videomae", "vit_tiny_patch16_224", None, PLAIN, "embeds clips in tubelets", "tubelet"),
        (
            "hf-vivit",
            "vit_tiny_patch16_224",
            {"kind": "tubelet", "frames": 4, "depth": 4},
            {},
            "tubelet_embed.weight is 24x3x2x8x8 there and 24x3x4x8x8",
            "model.temporal.depth",
        ),
        ("timm", "vit_tiny_patch16_224", None, {"reg_tokens": 4}, "lacks .*reg_token", "nearest"),
        ("timm", "vit_tiny_patch16_224", None, {"init_values": 1}, "fits only 66 of 76", "nearest"),
        ("dinov2", "vit_giant_patch14_dinov2", None, {"mlp_ratio": 2}, "no place for .*reg", "ls"),
        ("hf-clip", "vit_tiny_patch16_224", None, {}, "no place for .*norm_pre", "ivvit model ls"),
    ],
)
def test_a_part_without_which_the_model_is_blind(
    tmp_path: Path,
    case: str,
    backbone: str,
    temporal: dict[str, Any] | None,
    args: dict[str, Any],
    message: str,
    hint: str,
) -> None:
    state = CASES[case].name(timm_names(CASES[case].model(seed=3).state_dict()))
    model = small_model(backbone, temporal=temporal, depth=5, **args)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(InputError, match=message) as caught:
        load_weights(model, saved(state, tmp_path / "w.safetensors"))
    assert hint in str(caught.value.hint)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("change", "shape"),
    [
        ({"temporal": {"kind": "tubelet", "frames": 8, "depth": 2}}, (1, 17, 24)),
        ({"img_size": 32}, (1, 33, 24)),
        ({"patch_size": 4}, (1, 33, 24)),
    ],
)
def test_tubelets_are_resampled(
    tmp_path: Path, change: dict[str, Any], shape: tuple[int, ...]
) -> None:
    trained = small_model(temporal=TUBELETS, depth=5, seed=3)
    model = small_model(**{"temporal": TUBELETS, "depth": 5, **change})
    report = load_weights(model, saved(trained.state_dict(), tmp_path / "w.safetensors"))
    assert "encoder.tubelet_pos" in report.resized
    ours, theirs = model.encoder.tubelet_pos, trained.encoder.tubelet_pos
    assert ours.shape == shape
    assert torch.equal(ours[:, 0], theirs[:, 0])
    if "temporal" in change:  # each moment twice
        moments = theirs[0, 1:].view(2, 4, 24)
        assert torch.equal(ours[0, 1:].view(4, 4, 24), moments.repeat_interleave(2, 0))
    elif "patch_size" in change:
        assert "encoder.tubelet_embed.weight" in report.resized


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_of_half_precision(tmp_path: Path, dtype: torch.dtype) -> None:
    trained, model = small_model(seed=3), small_model(img_size=32, patch_size=4)
    state = {key: value.to(dtype) for key, value in trained.state_dict().items()}
    report = load_weights(model, saved(state, tmp_path / "w.safetensors"))
    assert len(report.resized) == 2
    assert model.encoder.vit.pos_embed.dtype == torch.float32
    assert torch.isfinite(model(images(1, 3, 32, 32), "a")).all()


def test_class_names_that_stand_twice_decide_nothing() -> None:
    """As `crane` and `maillot` do among ImageNet's."""
    assert same_classes({"a": ["Ox_cart", "owl"]}, {"": ["owl", "ox-cart"]}) == {"a": ""}
    assert same_classes({"a": ["crane", "crane"]}, {"": ["crane", "crane"]}) == {}
    assert same_classes({"a": ["crane", "owl"]}, {"": ["crane", "crane"]}) == {}
    model, state = small_model(heads={"a": 2}), small_model(heads={"b": 3}, seed=3).state_dict()
    names = {"b": ["crane", "owl", "crane"]}
    with pytest.raises(UsageError, match="is 3x24, 2x24 is needed"):
        load_classifier(state, model, "a", "w.pth", ours=["owl", "crane"], others=names)


def test_what_was_converted_remembers_its_importer(tmp_path: Path) -> None:
    """VideoMAE's places come from a formula, also when its weights come from a file of ours."""
    case = CASES["videomae"]
    source = saved(
        case.name(timm_names(case.model(seed=3).state_dict())), tmp_path / "w.safetensors"
    )
    done = convert_weights(source, tmp_path / "ours.safetensors")
    assert done.note["importer"] == "videomae"
    model = case.model(seed=4)
    report = load_weights(model, str(tmp_path / "ours.safetensors"))
    assert (report.format, report.derived) == ("ivvit", ("encoder.tubelet_pos",))
    assert torch.equal(model.encoder.tubelet_pos, sinusoids(8, 24))


def test_a_config_counts_only_beside_the_hubs_own_files(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"num_attention_heads": 4}')
    state = small_model(seed=3).state_dict()
    load_weights(small_model(), saved(state, tmp_path / "mine.safetensors"))
    with pytest.raises(InputError, match="4 attention heads, but the backbone has 3"):
        load_weights(small_model(), saved(state, tmp_path / "model.safetensors"))


def test_a_digest_of_tensors_without_a_file() -> None:
    tensors = {"a": torch.ones(2, dtype=torch.bfloat16), "b": torch.ones(())}
    swapped = {"b": tensors["a"], "a": tensors["b"]}
    digests = [
        Source(each).digest() for each in (tensors, dict(reversed(tensors.items())), swapped)
    ]
    assert digests[0] == digests[1] != digests[2]
