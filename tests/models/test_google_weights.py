"""Google's archives of arrays reach the right tensors."""

from pathlib import Path

import numpy as np
import torch
from foreign_names import to_google
from small_models import assert_same, small_model, timm_vit

from ivvit_cli.models import load_weights


def test_an_archive_of_google(tmp_path: Path) -> None:
    """And timm's own reader of such files understands this one alike."""
    vit, model = timm_vit(), small_model(heads={"a": 7})
    np.savez(tmp_path / "ViT.npz", **to_google(vit.state_dict()))
    timms = timm_vit(seed=4)
    timms.load_pretrained(str(tmp_path / "ViT.npz"))
    assert all(torch.equal(timms.state_dict()[k], v) for k, v in vit.state_dict().items())
    report = load_weights(model, str(tmp_path / "ViT.npz"), head="a")
    assert (report.format, report.share) == ("google", 1)
    assert report.unused == ("encoder.vit.pre_logits.weight",)
    assert_same(model, vit, "a")
