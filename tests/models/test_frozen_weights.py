"""What a checkpoint names instead of storing it is found again, whatever type the source has."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from safetensors.torch import save_file
from small_models import SMALL

from ivvit_cli.models import build_model, load_weights
from ivvit_cli.models.weights.frozen import complete, find_frozen

SECTION: dict[str, Any] = {
    "backbone": "vit_tiny_patch16_224",
    "backbone_args": SMALL,
    "freeze": ["backbone"],
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_source_of_any_precision_completes_a_checkpoint(
    tmp_path: Path, dtype: torch.dtype
) -> None:
    source = str(tmp_path / "backbone.safetensors")
    vit = build_model(SECTION, {"a": 3}).encoder.vit.state_dict()
    save_file({name: value.to(dtype).contiguous() for name, value in vit.items()}, source)
    model = build_model(SECTION, {"a": 3})
    frozen = find_frozen(model, source, load_weights(model, source).loaded)
    assert frozen is not None
    trained = {k: value for k, value in model.state_dict().items() if k not in frozen.names}
    named = SimpleNamespace(source=source, sha256=frozen.sha256)
    heads = {"a": SimpleNamespace(classes=["x", "y", "z"])}
    meta = cast("Any", SimpleNamespace(frozen=named, model=SECTION, heads=heads))
    whole = complete(trained, meta, tmp_path)
    assert whole.keys() == model.state_dict().keys()
    assert all(torch.equal(value, whole[name]) for name, value in model.state_dict().items())
