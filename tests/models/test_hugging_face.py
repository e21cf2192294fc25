"""Models of Hugging Face give the same numbers here, from the folders that they are saved in.

The tests are in one file, for the library takes seconds to import.
"""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from small_models import images, randomise
from torch import Tensor, nn

from ivvit_cli.errors import InputError
from ivvit_cli.models import JointModel, build_model, load_weights

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
transformers = pytest.importorskip("transformers")

WIDTH, HEADS, DEPTH, SIZE, PATCH, FRAMES, CLASSES = 24, 3, 2, 16, 8, 4, 7
SIZES = {
    "hidden_size": WIDTH,
    "num_hidden_layers": DEPTH,
    "num_attention_heads": HEADS,
    "image_size": SIZE,
    "patch_size": PATCH,
    "layer_norm_eps": 1e-6,
    "num_labels": CLASSES,
}
MLP = {**SIZES, "intermediate_size": 2 * WIDTH}
DINO = {**SIZES, "mlp_ratio": 2}
CLIP = {**MLP, "layer_norm_eps": 1e-5}
VIDEO = {**MLP, "num_frames": FRAMES}
TUBELETS = {"kind": "tubelet", "frames": FRAMES, "depth": 2}
PLAIN = {"class_token": False, "global_pool": "avg"}


def theirs(name: str, config: str, **options: Any) -> nn.Module:
    """Build one of their models, every parameter random."""
    settings = getattr(transformers, config)(**options)
    return randomise(getattr(transformers, name)(settings)).eval()


def ours(backbone: str, temporal: dict[str, Any] | None = None, **args: Any) -> JointModel:
    sizes = {"img_size": SIZE, "patch_size": PATCH, "embed_dim": WIDTH, "depth": DEPTH}
    args = {**sizes, "num_heads": HEADS, "mlp_ratio": 2, **args}
    section = {"backbone": backbone, "backbone_args": args, "temporal": temporal}
    return randomise(build_model(section, {"a": CLASSES}), seed=9).eval()


def image() -> Tensor:
    return images(2, 3, SIZE, SIZE).double()


def clip() -> Tensor:
    return images(2, FRAMES, 3, SIZE, SIZE).double()


def same(here: Tensor, there: Tensor) -> None:
    assert here.std() > 0.01  # random weights leave nothing at 0
    torch.testing.assert_close(here, there, rtol=0, atol=1e-9)


Saved = Callable[[nn.Module], str]


@pytest.fixture
def saved(tmp_path: Path) -> Saved:
    """Save a model as its authors do; the library writes the names of its version 4."""

    def save(model: nn.Module) -> str:
        model.save_pretrained(tmp_path / "repository")
        return str(tmp_path / "repository")

    return save


@pytest.fixture(params=["repository", "state dict"])
def written(request: pytest.FixtureRequest, saved: Saved, tmp_path: Path) -> Saved:
    """Save a model so, or its tensors alone, by the names that they have in version 5."""

    def save(model: nn.Module) -> str:
        if request.param == "repository":
            return saved(model)
        save_file(model.state_dict(), tmp_path / "state.safetensors")
        return str(tmp_path / "state.safetensors")

    return save


def test_vit(written: Saved) -> None:
    vit, model = (
        theirs("ViTForImageClassification", "ViTConfig", **MLP),
        ours("vit_base_patch16_224"),
    )
    report = load_weights(model, written(vit), head="a")
    assert (report.format, report.share, report.unused) == ("hf-vit", 1, ())
    same(model.double()(image(), "a"), vit.double()(image()).logits)


@pytest.mark.parametrize(
    ("name", "options", "backbone", "mlp_ratio"),
    [
        ("Dinov2", {}, "vit_small_patch14_dinov2", 2),
        ("Dinov2WithRegisters", {}, "vit_small_patch14_reg4_dinov2", 2),
        ("Dinov2", {"use_swiglu_ffn": True}, "vit_giant_patch14_dinov2", 64 / WIDTH),
        (
            "Dinov2WithRegisters",
            {"use_swiglu_ffn": True},
            "vit_giant_patch14_reg4_dinov2",
            64 / WIDTH,
        ),
    ],
)
def test_dinov2(
    written: Saved, name: str, options: dict[str, Any], backbone: str, mlp_ratio: float
) -> None:
    vit = theirs(f"{name}Model", f"{name}Config", **DINO, **options).double()
    model = ours(backbone, mlp_ratio=mlp_ratio).double()
    report = load_weights(model, written(vit))
    assert (report.format, report.share) == ("hf-dinov2", 1)
    assert report.unused == ("encoder.vit.embeddings.mask_token",)
    same(model.encoder(image(), "a")[0], vit(image()).pooler_output)


@pytest.mark.parametrize("name", ["CLIPVisionModel", "CLIPVisionModelWithProjection"])
def test_clip(written: Saved, name: str) -> None:
    vit = theirs(name, "CLIPVisionConfig", **CLIP)
    model = ours("vit_base_patch16_clip_quickgelu_224")
    report = load_weights(model, written(vit))
    assert (report.format, report.share) == ("hf-clip", 1)
    assert report.unused in ((), ("encoder.vit.visual_projection.weight",))
    tower = getattr(vit, "vision_model", vit).double()
    same(model.double().encoder(image(), "a")[0], tower(image()).pooler_output)


def test_the_vision_tower_of_a_whole_clip(written: Saved) -> None:
    text = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "vocab_size": 9}
    configs = {"text_config": text | {"intermediate_size": 8}, "vision_config": CLIP}
    whole = theirs("CLIPModel", "CLIPConfig", **configs)
    model = ours("vit_base_patch16_clip_quickgelu_224")
    report = load_weights(model, written(whole))
    assert (report.format, report.share) == ("hf-clip", 1)
    assert all("text" in name or "proj" in name or "logit" in name for name in report.unused)
    tower = whole.vision_model.double()
    same(model.double().encoder(image(), "a")[0], tower(image()).pooler_output)


@pytest.mark.parametrize(
    ("attention", "temporal"),
    [
        ("divided_space_time", {"kind": "divided", "frames": FRAMES}),
        ("joint_space_time", {"kind": "joint", "frames": FRAMES}),
        ("space_only", {"kind": "space_only"}),
    ],
)
def test_timesformer(written: Saved, attention: str, temporal: dict[str, Any]) -> None:
    config = {**VIDEO, "attention_type": attention, "drop_path_rate": 0}
    video = theirs("TimesformerForVideoClassification", "TimesformerConfig", **config)
    model = ours("vit_base_patch16_224", temporal)
    report = load_weights(model, written(video), head="a")
    assert (report.format, report.share, report.unused) == ("hf-timesformer", 1, ())
    assert report.derived == ()
    logits = video.double()(clip()).logits
    if attention == "space_only":  # theirs leaves out the mean over time: a row per frame
        same(model.double()(clip().flatten(0, 1), "a"), logits)
    else:
        same(model.double()(clip(), "a"), logits)


def test_vivit(written: Saved) -> None:
    """Model 1 of ViViT is the tubelet kind with the tanh form of GELU: exactly, head included."""
    config = {**VIDEO, "tubelet_size": [2, PATCH, PATCH]}
    video = theirs("VivitForVideoClassification", "VivitConfig", **config)
    model = ours("vit_base_patch16_224", TUBELETS, act_layer="gelu_tanh")
    report = load_weights(model, written(video), head="a")
    assert (report.format, report.unused) == ("hf-vivit", ())
    assert {name.split(".")[2] for name in report.missing} == {"patch_embed", "pos_embed"}
    same(model.double()(clip(), "a"), video.double()(clip()).logits)


def videomae() -> nn.Module:
    """Build a classifier whose last norm has the authors' epsilon, which this library forgets."""
    video = theirs("VideoMAEForVideoClassification", "VideoMAEConfig", **VIDEO, tubelet_size=2)
    video.fc_norm.eps = 1e-6
    return video


def test_videomae(written: Saved) -> None:
    video = videomae()
    model = ours("vit_base_patch16_224", TUBELETS, **PLAIN)
    report = load_weights(model, written(video), head="a")
    assert (report.format, report.unused) == ("hf-videomae", ())
    assert report.derived == ("encoder.tubelet_pos",)
    same(model.double()(clip(), "a"), video.double()(clip()).logits)


def test_the_encoder_of_a_videomae_in_pre_training(written: Saved) -> None:
    decoder = {"decoder_num_hidden_layers": 1, "decoder_hidden_size": 8}
    decoder |= {"decoder_num_attention_heads": 1, "decoder_intermediate_size": 8}
    config = VIDEO | decoder | {"tubelet_size": 2, "num_hidden_layers": 5}
    whole = theirs("VideoMAEForPreTraining", "VideoMAEConfig", **config)
    model = ours("vit_base_patch16_224", TUBELETS, **PLAIN, depth=5)
    report = load_weights(model, written(whole))
    assert "encoder.vit.fc_norm.weight" in report.missing  # pre-training has no pooling
    assert all("decoder" in name or "mask_token" in name for name in report.unused)
    encoder, tokens = model.double().encoder, whole.videomae.double()(clip()).last_hidden_state
    same(encoder.vit.blocks(encoder.embed(clip())), tokens)


def test_weights_in_parts(saved: Saved, tmp_path: Path) -> None:
    vit, model = (
        theirs("ViTForImageClassification", "ViTConfig", **MLP),
        ours("vit_base_patch16_224"),
    )
    vit.save_pretrained(tmp_path / "parts", max_shard_size="10KB")
    parts = sorted(tmp_path.glob("parts/*.safetensors"))
    assert len(parts) > 2
    load_weights(model, str(tmp_path / "parts"), head="a")
    same(model.double()(image(), "a"), vit.double()(image()).logits)
    index = tmp_path / "parts/model.safetensors.index.json"
    document = json.loads(index.read_text())
    document["weight_map"]["vit.lost"] = parts[0].name
    index.write_text(json.dumps(document))
    with pytest.raises(InputError, match=r"vit\.lost is in none of its parts"):
        load_weights(ours("vit_base_patch16_224"), str(index.parent))
    parts[1].unlink()
    with pytest.raises(InputError, match=r"no such file, but model.* names it"):
        load_weights(ours("vit_base_patch16_224"), str(index.parent))
    for elsewhere in ("../w.safetensors", "/etc/passwd", "a/b.bin", "w.txt"):
        document["weight_map"]["vit.layernorm.bias"] = elsewhere
        index.write_text(json.dumps(document))
        with pytest.raises(InputError, match="no file of weights beside it"):
            load_weights(ours("vit_base_patch16_224"), str(index.parent))
    index.write_text("{")
    with pytest.raises(InputError, match="is damaged"):
        load_weights(ours("vit_base_patch16_224"), str(index.parent))


OLD_NAMES = (  # of the files on the hub, from version 4 and before
    (r"layers\.(\d+)\.", r"encoder.layer.\1."),
    (r"\.attention\.q_proj\.", ".attention.attention.query."),
    (r"\.attention\.k_proj\.", ".attention.attention.key."),
    (r"\.attention\.v_proj\.", ".attention.attention.value."),
    (r"\.attention\.o_proj\.", ".attention.output.dense."),
    (r"\.mlp\.fc1\.", ".intermediate.dense."),
    (r"\.mlp\.fc2\.", ".output.dense."),
)
OLD_DINO_NAMES = OLD_NAMES[1:5]


@pytest.mark.parametrize("prefix", ["", "vit.", "module.vit.", "model."])
def test_names_of_vit_before_version_5(tmp_path: Path, prefix: str) -> None:
    vit, model = theirs("ViTModel", "ViTConfig", **MLP), ours("vit_base_patch16_224")
    state = renamed(vit.state_dict(), OLD_NAMES)
    assert "encoder.layer.0.attention.attention.query.weight" in state
    save_file({prefix + key: value for key, value in state.items()}, tmp_path / "w.safetensors")
    report = load_weights(model, str(tmp_path / "w.safetensors"))
    assert (report.format, report.share) == ("hf-vit", 1)
    expected = vit.double()(image()).last_hidden_state[:, 0]
    same(model.double().encoder(image(), "a")[0], expected)


def test_names_of_dinov2_before_version_5(tmp_path: Path) -> None:
    vit = theirs("Dinov2Model", "Dinov2Config", **DINO, use_swiglu_ffn=True)
    state = renamed(vit.state_dict(), OLD_DINO_NAMES)
    for layer in range(DEPTH):
        for kind in ("weight", "bias"):
            mlp = f"encoder.layer.{layer}.mlp"
            halves = [state.pop(f"{mlp}.{half}_proj.{kind}") for half in ("gate", "up")]
            state[f"{mlp}.weights_in.{kind}"] = torch.cat(halves)
            state[f"{mlp}.weights_out.{kind}"] = state.pop(f"{mlp}.down_proj.{kind}")
    save_file(state, tmp_path / "w.safetensors")
    model = ours("vit_giant_patch14_dinov2", mlp_ratio=64 / WIDTH)
    assert load_weights(model, str(tmp_path / "w.safetensors")).share == 1
    same(model.double().encoder(image(), "a")[0], vit.double()(image()).pooler_output)


def test_names_of_videomae_before_version_5(tmp_path: Path) -> None:
    video = videomae()
    names = ((r"attention\.query\.bias", "attention.q_bias"), (r"value\.bias", "v_bias"))
    state = renamed(video.state_dict(), names)
    assert "videomae.encoder.layer.0.attention.attention.v_bias" in state
    save_file(state, tmp_path / "w.safetensors")
    model = ours("vit_base_patch16_224", TUBELETS, **PLAIN)
    load_weights(model, str(tmp_path / "w.safetensors"), head="a")
    same(model.double()(clip(), "a"), video.double()(clip()).logits)


def renamed(state: dict[str, Tensor], names: tuple[tuple[str, str], ...]) -> dict[str, Tensor]:
    for theirs_, old in names:
        state = {re.sub(theirs_, old, key): value for key, value in state.items()}
    return state


@pytest.mark.parametrize(
    ("change", "message", "hint"),
    [
        ({"num_heads": 4}, "3 attention heads, but the backbone has 4", "num_heads=3"),
        ({"act_layer": "gelu"}, "activation quick_gelu, but the backbone has gelu", "quick_gelu"),
    ],
)
def test_a_config_tells_what_tensors_do_not(
    saved: Saved, change: dict[str, Any], message: str, hint: str
) -> None:
    repository = saved(theirs("CLIPVisionModel", "CLIPVisionConfig", **CLIP))
    with pytest.raises(InputError, match=message) as caught:
        load_weights(ours("vit_base_patch16_clip_quickgelu_224", **change), repository)
    assert hint in str(caught.value.hint)


def test_class_names_decide_about_a_classifier(saved: Saved, tmp_path: Path) -> None:
    names = ["jump", "run", "Ride a Bike", "sit", "stand", "walk", "wave"]
    config = {**MLP, "id2label": dict(enumerate(names)), "label2id": {}}
    vit = theirs("ViTForImageClassification", "ViTConfig", **config)
    repository = saved(vit)
    logits = vit.double()(image()).logits
    order = [6, 2, 0, 1, 3, 5, 4]
    mine = [names[row].lower().replace(" ", "_") for row in order]
    for classes, heads in ((mine, ("a",)), ([*mine[:-1], "lie"], ()), (mine[:-1], ())):
        model = ours("vit_base_patch16_224")
        report = load_weights(model, repository, classes={"a": classes})
        assert report.heads == heads
        if heads:
            same(model.double()(image(), "a"), logits[:, order])
    model = build_model(
        {"backbone": "vit_base_patch16_224", "backbone_args": model_args()}, {"a": 3}
    ).eval()
    assert load_weights(model, repository, classes={"a": mine[:3]}).heads == ()
    load_weights(model, repository, "a", classes={"a": mine[:3]})  # when asked, of more classes
    same(model.double()(image(), "a"), logits[:, order[:3]])


def model_args() -> dict[str, Any]:
    sizes = {"img_size": SIZE, "patch_size": PATCH, "embed_dim": WIDTH, "depth": DEPTH}
    return {**sizes, "num_heads": HEADS, "mlp_ratio": 2}
