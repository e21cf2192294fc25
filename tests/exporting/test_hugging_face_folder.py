"""Exported folders are models of transformers where it knows them, and of ivvit where not.

The tests are in one file, for the library takes seconds to import.
"""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from exported import CLIP, FRAMES, IMAGE, MEAN, SIZE, SIZES, STD, VIDEO, normalised, save_model
from media import write_image
from PIL import Image
from safetensors.torch import load_file
from tiny_runs import film, picture
from torch import Tensor

from ivvit_cli.exporting.frames import moving_frames
from ivvit_cli.exporting.hugging_face import export_hugging_face
from ivvit_cli.exporting.hugging_names import find_architecture
from ivvit_cli.models import JointModel, build_model, load_weights
from ivvit_cli.models.weights.convert import convert_weights
from ivvit_cli.prediction.heads import Reading
from ivvit_cli.prediction.media import view_file
from ivvit_cli.runs import load_model
from shards.stream.views import Views

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
transformers = pytest.importorskip("transformers", reason="pip install ivvit[dev]")

DIVIDED = {"kind": "divided", "frames": FRAMES}
JOINT = {"kind": "joint", "frames": FRAMES}


def load_theirs(folder: Path) -> Any:
    """Load a folder into the class that its config.json names, which has to take it whole."""
    (name,) = json.loads((folder / "config.json").read_text())["architectures"]
    net, report = getattr(transformers, name).from_pretrained(folder, output_loading_info=True)
    assert not any(report.values()), report
    return net


def same(given: Tensor, model: JointModel, pixels: Tensor, dataset: str) -> None:
    expected = model(pixels, dataset)
    assert expected.std() > 0.1  # else nothing would be compared
    torch.testing.assert_close(given, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    "args",
    [{}, {"qkv_bias": False}, {"act_layer": "gelu_tanh"}, {"act_layer": "quick_gelu", "depth": 3}],
)
def test_a_plain_vit(args: dict[str, Any], tmp_path: Path) -> None:
    model, checkpoint = save_model(tmp_path / "run", None, (IMAGE,), **args)
    export_hugging_face(checkpoint, tmp_path / "out")
    net = load_theirs(tmp_path / "out")
    assert isinstance(net, transformers.ViTForImageClassification)
    assert net.config.id2label == dict(enumerate(IMAGE[1]))
    pixels = normalised(moving_frames(2, 1, SIZE)[:, 0])
    same(net(pixels).logits, model, pixels, IMAGE[0])


@pytest.mark.parametrize("temporal", [DIVIDED, JOINT])
def test_a_timesformer(temporal: dict[str, Any], tmp_path: Path) -> None:
    model, checkpoint = save_model(tmp_path / "run", temporal, depth=2)
    notes = export_hugging_face(checkpoint, tmp_path / "out")
    assert {*notes} == {f"{name}/model.safetensors" for name in ("ucf", "pets.v1")}
    clips = normalised(moving_frames(2, FRAMES, SIZE))
    net = load_theirs(tmp_path / "out/ucf")
    assert isinstance(net, transformers.TimesformerForVideoClassification)
    same(net(clips).logits, model, clips, "ucf")
    images = clips[:, 0]
    same(load_theirs(tmp_path / "out/pets.v1")(images[:, None]).logits, model, images, "pets.v1")


def test_a_plain_vit_on_frames(tmp_path: Path) -> None:
    model, checkpoint = save_model(tmp_path / "run", None, (VIDEO,))
    export_hugging_face(checkpoint, tmp_path / "out")
    clips = normalised(moving_frames(2, FRAMES, SIZE))
    each = load_theirs(tmp_path / "out")(clips.flatten(0, 1)).logits
    same(each.unflatten(0, (2, FRAMES)).mean(1), model, clips, "ucf")


@pytest.mark.parametrize("temporal", [None, DIVIDED, JOINT])
def test_what_is_read_back_is_the_same(temporal: dict[str, Any] | None, tmp_path: Path) -> None:
    model, checkpoint = save_model(tmp_path / "run", temporal, (VIDEO,))
    export_hugging_face(checkpoint, tmp_path / "out")
    back = convert_weights(str(tmp_path / "out"), tmp_path / "back.safetensors", head="ucf")
    assert back.note["classes"] == {"ucf": tuple(VIDEO[1])}
    tensors, own = load_file(tmp_path / "back.safetensors"), model.state_dict()
    assert tensors.keys() == own.keys()
    assert all(torch.equal(tensors[name], own[name]) for name in own)
    fresh = build_model({"backbone": "vit_tiny_patch16_224", "backbone_args": SIZES | {"depth": 1},
                         "temporal": temporal}, {"x": 3})  # fmt: skip
    order = ["ride-a-bike", "jump", "run"]
    report = load_weights(fresh, str(tmp_path / "out"), classes={"x": order})
    assert (report.share, report.heads) == (1, ("x",))
    assert torch.equal(fresh.heads["x"].linears[0].bias[1], own["heads.ucf.linears.0.bias"][0])


OTHERS: dict[str, tuple[str, dict[str, Any], str]] = {
    "clip": ("vit_base_patch16_clip_quickgelu_224", {}, "none"),
    "registers": ("vit_small_patch14_reg4_dinov2", {}, "none"),
    "swiglu": ("vit_giant_patch14_dinov2", {"mlp_ratio": 8 / 3}, "none"),
    "distilled": ("deit_tiny_distilled_patch16_224", {}, "none"),
    "no class token": (
        "vit_base_patch16_224",
        {"class_token": False, "global_pool": "avg"},
        "none",
    ),
    "mean": ("vit_base_patch16_224", {"global_pool": "avg"}, "none"),
    "mean without a norm": (
        "vit_base_patch16_224",
        {"global_pool": "avg", "fc_norm": False},
        "none",
    ),
    "places of patches": ("vit_base_patch16_224", {"no_embed_class": True}, "none"),
    "layer scale": ("vit_base_patch16_224", {"init_values": 0.1}, "none"),
    "query norm": ("vit_base_patch16_224", {"qk_norm": True}, "none"),
    "norm before": ("vit_base_patch16_224", {"pre_norm": True}, "none"),
    "relu": ("vit_base_patch16_224", {"act_layer": "relu"}, "none"),
    "no biases": ("vit_base_patch16_224", {"proj_bias": False}, "none"),
    "other norms": ("vit_base_patch16_224", {"norm_layer": "rmsnorm"}, "none"),
    "any size": ("vit_base_patch16_224", {"dynamic_img_size": True}, "none"),
    "token shift": ("vit_base_patch16_224", {}, "token_shift"),
    "msca": ("vit_base_patch16_224", {}, "msca"),
    "mean before the norm": ("vit_base_patch16_224", {}, "space_only"),
    "tubelets": ("vit_base_patch16_224", {}, "tubelet"),
    "adapters": ("vit_base_patch16_224", {}, "adaptformer"),
}


def architecture(section: dict[str, Any]) -> str | None:
    with torch.device("meta"):
        found = find_architecture(build_model(section, {"a": 2}))
    return found and found.name


@pytest.mark.parametrize("name", OTHERS)
def test_a_model_that_transformers_lacks(name: str) -> None:
    backbone, args, kind = OTHERS[name]
    section = {"backbone": backbone, "temporal": {"kind": kind}}
    assert architecture({**section, "backbone_args": {**SIZES, "depth": 1, **args}}) is None


@pytest.mark.parametrize(
    "change", [{"separate": ["cls"]}, {"temporal": DIVIDED, "backbone_args": {"reg_tokens": 2}}]
)
def test_a_model_of_ours_beside_one_of_theirs(change: dict[str, Any]) -> None:
    plain = {"backbone": "vit_tiny_patch16_224", "backbone_args": {}}
    assert architecture(plain) == "ViTForImageClassification"
    assert architecture({**plain, "temporal": DIVIDED}) == "TimesformerForVideoClassification"
    assert architecture({**plain, **change}) is None


def test_a_folder_for_ivvit(ivvit_here: Any, tmp_path: Path) -> None:
    model, _ = save_model(tmp_path / "run", {"kind": "token_shift"})
    command = ["model", "export", "run", "-o", "out", "--format", "huggingface"]
    done = ivvit_here(*command, "--json")
    assert done.code == 0, done.stderr
    (file,) = done.json["files"]
    assert (file["file"], file["architecture"]) == ("model.safetensors", "ivvit")
    assert file["datasets"] == ["ucf", "pets.v1"]
    assert ivvit_here(*command).code == 2  # it is there already
    config = json.loads(Path("out/config.json").read_text())
    assert config["architectures"] == ["ivvit"]
    assert config["datasets"]["ucf"]["clip"] == CLIP
    assert config["datasets"]["pets.v1"]["label2id"] == {"cat": 0, "dog": 1}
    built = build_model(config["model"], {"b": 2})
    report = load_weights(built, "out", classes={"b": ["dog", "cat"]})
    assert (report.share, report.heads) == (1, ("b",))
    again, meta = load_model(tmp_path / "out", "cpu")
    assert [*meta.heads] == ["ucf", "pets.v1"]
    assert all(torch.equal(again.state_dict()[n], v) for n, v in model.state_dict().items())


def front_matter(folder: Path) -> dict[str, Any]:
    _, front, text = (folder / "README.md").read_text().split("---\n", 2)
    assert text.startswith("\n# ")
    found: dict[str, Any] = yaml.safe_load(front)
    return found


@pytest.mark.parametrize(
    ("temporal", "head"), [(None, IMAGE), (None, VIDEO), (DIVIDED, VIDEO), (JOINT, IMAGE)]
)
def test_the_code_of_a_card(
    temporal: dict[str, Any] | None,
    head: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _, checkpoint = save_model(tmp_path / "run", temporal, (head,))
    export_hugging_face(checkpoint, tmp_path / "out")
    assert front_matter(tmp_path / "out")["library_name"] == "transformers"
    monkeypatch.chdir(tmp_path / "out")
    write_image(Path("photo.jpg"), picture(24, 30, seed=1))
    for number, frame in enumerate([picture(24, 30, seed=1), *film(FRAMES - 1, 24, 30, seed=2)]):
        write_image(Path(f"frame-{number}.jpg"), frame)
    (code,) = re.findall(r"```python\n(.*?)```", Path("README.md").read_text(), re.DOTALL)
    exec(code, {})
    assert capsys.readouterr().out.splitlines()[-1] in head[1]


def test_the_input_is_prepared_as_here(tmp_path: Path) -> None:
    _, checkpoint = save_model(tmp_path / "run", None, (IMAGE,))
    export_hugging_face(checkpoint, tmp_path / "out")
    write_image(tmp_path / "photo.png", picture(48, 60, seed=1))
    views = view_file(tmp_path / "photo.png", "image", [Reading()], views=Views(1, 1), size=SIZE)
    own = views[Reading()].render(SIZE, MEAN, STD)
    processor = transformers.AutoImageProcessor.from_pretrained(tmp_path / "out")
    theirs = processor(Image.open(tmp_path / "photo.png"), return_tensors="pt")["pixel_values"]
    assert (own - theirs).abs().max() < 0.03  # normalised: a grey level or two
    assert own.std() > 0.3
