"""The sizes of the paper's modules, at the widths that give what it prints (in Mi: 2^20)."""

from typing import Any

import pytest
import torch

from ivvit_cli.models import JointModel, build_model
from ivvit_cli.models.freezing import is_backbone

MI = 2**20
UNITS: dict[str, dict[str, Any]] = {
    "lstm": {"kind": "lstm", "hidden": 1024, "layers": 2},
    "tcn": {"kind": "tcn"},
    "transformer": {"kind": "transformer", "heads": 12, "hidden": 1024},
}


def paper_model(unit: str, channels: str = "head", blocks: Any = "all") -> JointModel:
    temporal = {
        "kind": "am_flow",
        "flow": {"kind": "aligned", "channels": channels},
        "blocks": blocks,
        "adapter": {"kind": "plain", "width": 768},
        "unit": UNITS[unit],
    }
    with torch.device("meta"):
        return build_model(
            {
                "backbone": "vit_base_patch14_dinov2.lvd142m",
                "backbone_args": {"img_size": 224},
                "temporal": temporal,
                "freeze": ["backbone"],
            },
            {"ssv2": 174},
        )


def size(model: JointModel, part: str) -> int:
    return sum(p.numel() for name, p in model.named_parameters() if part in name)


@pytest.mark.parametrize(
    ("unit", "count", "printed"),
    [("lstm", 377_880_576, 360), ("tcn", 56_696_832, 54), ("transformer", 108_773_376, 103)],
)
def test_temporal_units_and_aligning_encoders(unit: str, count: int, printed: int) -> None:
    model = paper_model(unit)
    assert size(model, ".units.") == count
    assert count // MI == printed
    assert size(model, ".align.") == 47_299_584
    assert 47_299_584 // MI == 45


def test_adapters() -> None:
    """28 printed, in millions (10^6); with a flow as wide as the tokens they would have 35."""
    sizes = {
        channels: size(paper_model("tcn", channels), ".bank.")
        for channels in ("head", "mean", "width")
    }
    assert sizes == {"head": 28_495_896, "mean": 28_394_520, "width": 35_463_192}


def test_two_blocks_have_a_sixth() -> None:
    whole, two = paper_model("lstm"), paper_model("lstm", blocks=[1, 12])
    for part in (".units.", ".align."):
        assert size(whole, part) == 6 * size(two, part)


def test_nothing_but_the_backbone_is_frozen() -> None:
    model = paper_model("tcn")
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert frozen == {name for name, _ in model.named_parameters() if is_backbone(name)}
    assert size(model, "encoder.vit.") == 85_724_928  # 86 printed


@pytest.mark.parametrize(
    ("temporal", "count"),
    [
        ({"kind": "st_adapter", "before": ["mlp"]}, 7_110_144),  # 7 printed, Kinetics
        ({"kind": "st_adapter"}, 14_220_288),
        ({"kind": "adaptformer"}, 1_189_632),  # 1.19 in its paper
    ],
)
def test_others_adapters(temporal: dict[str, Any], count: int) -> None:
    with torch.device("meta"):
        model = build_model({"backbone": "vit_base_patch16_224", "temporal": temporal}, {"a": 2})
    assert size(model, "encoder.adapters.") == count
