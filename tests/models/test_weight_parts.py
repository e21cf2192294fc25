"""Parts of a model from sources of their own."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from small_models import small_model

from ivvit_cli.errors import InputError
from ivvit_cli.models import load_weights
from ivvit_cli.models.weights import load_parts

TUBELET = {"temporal": {"kind": "tubelet", "frames": 4}}


def test_three_sources(tmp_path: Path) -> None:
    """As in PolyViT: blocks of one model, images' patches of another, tubelets of a third."""
    blocks, patches, video = (
        small_model(seed=1),
        small_model(seed=2),
        small_model(**TUBELET, seed=3),
    )
    save_file(blocks.encoder.vit.state_dict(), tmp_path / "blocks.safetensors")
    save_file(patches.encoder.vit.state_dict(), tmp_path / "patches.safetensors")
    save_file(video.state_dict(), tmp_path / "video.safetensors")
    model = small_model(**TUBELET, seed=4)
    load_weights(model, str(tmp_path / "blocks.safetensors"))
    lines = load_parts(
        model,
        {
            "encoder.tubelet_*": str(tmp_path / "video.safetensors"),
            "encoder.vit.patch_embed.*": str(tmp_path / "patches.safetensors"),
        },
    )
    state = model.encoder.state_dict()
    for name, value in video.encoder.state_dict().items():
        if name.startswith("tubelet_"):
            assert torch.equal(state[name], value)
    for name, value in blocks.encoder.vit.state_dict().items():
        origin = patches.encoder.vit.state_dict()[name] if "patch_embed" in name else value
        assert torch.equal(state[f"vit.{name}"], origin)
    assert lines[0] == f"encoder.tubelet_*: 3 tensors of {tmp_path}/video.safetensors (ivvit)"
    assert lines[1].startswith("encoder.vit.patch_embed.*: 2 tensors of ")


def test_a_source_without_the_part_is_an_error(tmp_path: Path) -> None:
    save_file(small_model(seed=1).encoder.vit.state_dict(), tmp_path / "vit.safetensors")
    model = small_model()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(InputError, match=r"gives nothing named encoder\.tubelet_\*"):
        load_parts(model, {"encoder.tubelet_*": str(tmp_path / "vit.safetensors")})
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
