"""Parameters, multiply-adds and memory of models, held against formulas and printed numbers."""

from typing import Any

import pytest
import torch
from small_models import images, small_model

from ivvit_cli.models import JointModel, build_model
from ivvit_cli.models.cost import (
    MultiplyAdds,
    activation_bytes,
    count_multiply_adds,
    count_parameters,
    state_bytes,
)

K400 = {"kinetics400": 400}
COVER = {**K400, "ssv2": 174, "mit": 339, "imagenet": 1000}


def meta_model(
    backbone: str, temporal: dict[str, Any], heads: dict[str, int], size: int = 224
) -> JointModel:
    section = {"backbone": backbone, "backbone_args": {"img_size": size}, "temporal": temporal}
    with torch.device("meta"):
        return build_model(section, heads)


def frame_wise(frames: int, patches: int, width: int, depth: int, classes: int) -> MultiplyAdds:
    """Count by hand: 4 products of D x D in attention, 8 in an MLP, 2 of N x N x D."""
    tokens = patches + 1
    linear = depth * tokens * 12 * width**2 + patches * 768 * width
    return MultiplyAdds(frames * linear + width * classes, frames * depth * 2 * tokens**2 * width)


@pytest.mark.parametrize("kind", ["none", "token_shift", "msca", "space_only"])
@pytest.mark.parametrize(
    ("backbone", "width"), [("vit_tiny_patch16_224", 192), ("vit_base_patch16_224", 768)]
)
def test_shifts_cost_nothing(kind: str, backbone: str, width: int) -> None:
    """0 extra over the frame-wise ViT, whose count is the formula's, to the last one."""
    model = meta_model(backbone, {"kind": kind}, K400)
    counted = count_multiply_adds(model, (8, 3, 224, 224), "kinetics400")
    assert counted == frame_wise(8, 196, width, 12, 400)


@pytest.mark.parametrize(
    ("backbone", "frames", "size", "giga"),
    [
        ("vit_base_patch16_224", 8, 224, 134.7),
        ("vit_base_patch16_224", 8, 256, 175.8),
        ("vit_base_patch16_224", 8, 384, 394.7),
        ("vit_large_patch16_224", 12, 384, 2096.4),
    ],
)
def test_tokshift_prints_what_is_linear(backbone: str, frames: int, size: int, giga: float) -> None:
    """The GFLOPs of its table are multiply-adds without the products of attention."""
    model = meta_model(backbone, {"kind": "token_shift"}, K400, size)
    counted = count_multiply_adds(model, (frames, 3, size, size), "kinetics400")
    assert counted.linear / 1e9 == pytest.approx(giga, abs=0.1)


@pytest.mark.parametrize("frames", [None, 4])
def test_joint_attention(frames: int | None) -> None:
    model = meta_model("vit_tiny_patch16_224", {"kind": "joint", "frames": 4}, K400)
    shape = (3, 224, 224) if frames is None else (frames, 3, 224, 224)
    patches, width = 196 * (frames or 1), 192
    linear = 12 * (patches + 1) * 12 * width**2 + patches * 768 * width + width * 400
    expected = MultiplyAdds(linear, 12 * 2 * (patches + 1) ** 2 * width)
    assert count_multiply_adds(model, shape, "kinetics400") == expected


def test_tubelets() -> None:
    model = meta_model("vit_tiny_patch16_224", {"kind": "tubelet", "frames": 8, "depth": 2}, K400)
    patches, width = 196 * 4, 192
    linear = 12 * (patches + 1) * 12 * width**2 + patches * 2 * 768 * width + width * 400
    expected = MultiplyAdds(linear, 12 * 2 * (patches + 1) ** 2 * width)
    assert count_multiply_adds(model, (8, 3, 224, 224), "kinetics400") == expected
    assert count_multiply_adds(model, (3, 224, 224), "kinetics400") == frame_wise(
        1, 196, width, 12, 400
    )


def divided(frames: int, patches: int, width: int, depth: int, classes: int) -> MultiplyAdds:
    """Count by hand: time with its layer after it, space with a class token a frame, the MLP."""
    tokens = frames * patches
    time, space = 5 * tokens, 4 * (tokens + frames)
    linear = depth * (time + space + 8 * (tokens + 1)) * width**2 + tokens * 768 * width
    products = 2 * width * (patches * frames**2 + frames * (patches + 1) ** 2)
    return MultiplyAdds(linear + width * classes, depth * products)


@pytest.mark.parametrize(
    ("backbone", "width", "depth", "frames", "size", "heads", "tera"),
    [
        ("vit_base_patch16_224", 768, 12, 8, 224, K400, 0.59),
        ("vit_base_patch16_224", 768, 12, 16, 448, K400, 5.11),
        ("vit_base_patch16_224", 768, 12, 96, 224, K400, 7.14),
        ("vit_large_patch16_224", 1024, 24, 16, 448, COVER, 17.6),
    ],
)
def test_the_printed_multiply_adds_of_divided_attention(
    backbone: str,
    width: int,
    depth: int,
    frames: int,
    size: int,
    heads: dict[str, int],
    tera: float,
) -> None:
    """TimeSformer: 0.59 TFLOPs of B, 1.70 a view of HR, 2.38 of L, at 1x3; CoVeR: 17.6 in all.

    The class token goes with every frame, so that the stream is never copied: 0.3 % more.
    """
    model = meta_model(backbone, {"kind": "divided", "frames": frames}, heads, size)
    counted = count_multiply_adds(model, (frames, 3, size, size), "kinetics400")
    asked = divided(frames, (size // 16) ** 2, width, depth, 400)
    assert counted.attention == asked.attention
    assert asked.linear <= counted.linear <= 1.004 * asked.linear
    assert 3 * counted.total / 1e12 == pytest.approx(tera, rel=0.005)


@pytest.mark.parametrize(
    ("backbone", "temporal", "heads", "size", "millions"),
    [
        ("vit_base_patch16_224", {"kind": "none"}, K400, 224, 86.11),
        ("vit_base_patch16_224", {"kind": "token_shift"}, K400, 224, 86.11),
        ("vit_base_patch16_224", {"kind": "msca"}, K400, 224, 86.11),
        ("vit_base_patch16_224", {"kind": "divided", "frames": 8}, K400, 224, 121.57),
        ("vit_large_patch16_224", {"kind": "divided", "frames": 16}, COVER, 448, 431.88),
    ],
)
def test_the_printed_numbers_of_parameters(
    backbone: str, temporal: dict[str, Any], heads: dict[str, int], size: int, millions: float
) -> None:
    """TokShift and MSCA 86.1 M, TimeSformer-B 121.4 M, CoVeR's TimeSformer-L 431 M."""
    model = meta_model(backbone, temporal, heads, size)
    parts = count_parameters(model)
    total = sum(part.total for part in parts.values())
    assert total == sum(parameter.numel() for parameter in model.parameters())
    assert total / 1e6 == pytest.approx(millions, abs=0.005)
    assert [name for name in parts if name.startswith("head ")] == [f"head {h}" for h in heads]


def test_parameters_by_part() -> None:
    temporal = {"kind": "divided", "frames": 4}
    model = small_model(temporal=temporal, heads={"a": 5, "k.400": 7})
    for parameter in model.encoder.vit.patch_embed.parameters():
        parameter.requires_grad_(False)
    parts = count_parameters(model)
    assert (parts["patches"].total, parts["patches"].trainable) == (24 * 3 * 64 + 24, 0)
    assert parts["for clips alone"].total == 4 * 24
    assert parts["tokens and places"].total == 24 + 5 * 24
    assert parts["head k.400"].total == 7 * 25
    time = 2 * (2 * 24 + 4 * 24**2 + 4 * 24 + 24**2 + 24)
    assert parts["in blocks, over time"].total == time
    trained = sum(part.trainable for part in parts.values())
    total = sum(part.total for part in parts.values())
    assert state_bytes(model, "adamw") == 4 * total + 12 * trained
    assert state_bytes(model, "sgd") == 4 * total + 8 * trained


def test_recurrent_layers_are_counted() -> None:
    """Of two layers of an LSTM, 4 products of each step's input and state each."""
    model = small_model()
    model.encoder = _Recurrent()
    counted = count_multiply_adds(model, (6, 3, 16, 16), "a")
    assert counted == MultiplyAdds(6 * 4 * 16 * (24 + 16 + 16 + 16) + 24 * 5, 0)


class _Recurrent(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = torch.nn.LSTM(24, 16, num_layers=2, batch_first=True)

    def forward(self, x: torch.Tensor, dataset: str) -> tuple[torch.Tensor]:
        states, _ = self.lstm(x.flatten(2)[..., :24])
        return (torch.nn.functional.pad(states[:, -1], (0, 8)),)


def test_a_model_with_values_is_left_as_it_was() -> None:
    model = small_model(temporal={"kind": "token_shift"})
    before = model(images(1, 4, 3, 16, 16), "a")
    count_multiply_adds(model, (4, 3, 16, 16), "a")
    activation_bytes(model, (4, 3, 16, 16), "a")
    assert not model.training
    count_multiply_adds(model.train(), (3, 16, 16), "a")
    assert model.training
    model.eval()
    assert torch.equal(model(images(1, 4, 3, 16, 16), "a"), before)
    assert all(p.grad is None for p in model.parameters())


def kept_by_autograd(model: JointModel, batch: int) -> int:
    """Run a step with real tensors, and add up what is saved and is no parameter."""
    seen = {p.untyped_storage().data_ptr(): 0 for p in model.parameters()}
    alive = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        alive.append(tensor)
        seen.setdefault(storage.data_ptr(), storage.nbytes())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model(images(batch, 4, 3, 16, 16), "a")
    return sum(seen.values())


@pytest.mark.parametrize("kind", ["none", "token_shift", "msca", "divided", "joint"])
def test_activations_are_what_a_real_step_keeps(kind: str) -> None:
    model = small_model(temporal={"kind": kind}).train()
    estimate = activation_bytes(model, (4, 3, 16, 16), "a", bf16=False)
    real = kept_by_autograd(model, 3) - kept_by_autograd(model, 2)
    assert estimate == pytest.approx(real, rel=0.02)


def deep_model(depth: int) -> JointModel:
    args = {"img_size": 112, "depth": depth}
    with torch.device("meta"):
        return build_model({"backbone": "vit_base_patch16_224", "backbone_args": args}, {"a": 2})


def test_activations_of_a_block_as_written_down() -> None:
    """In bytes a token and channel, under bf16: two inputs of norms in fp32 are 8; what norms, q,
    k, v and attention give is 2 each, so 12; the MLP keeps 4 x 2 before GELU and after, so 16."""
    deep, shallow = (activation_bytes(deep_model(depth), (3, 112, 112), "a") for depth in (3, 2))
    assert (deep - shallow) / (50 * 768) == pytest.approx(8 + 12 + 16, rel=0.02)


def test_checkpointing_keeps_the_inputs_of_blocks_and_one_block() -> None:
    shape, tokens = (3, 112, 112), 50 * 768 * 4
    deep, shallow = (activation_bytes(deep_model(depth), shape, "a") for depth in (8, 7))
    block = deep - shallow
    kept = activation_bytes(deep_model(8), shape, "a", checkpointing=True)
    assert kept == pytest.approx(deep - 8 * block + 8 * tokens + block, rel=0.03)


def test_a_frozen_backbone_keeps_its_last_tokens() -> None:
    model = small_model(model={"freeze": ["backbone"]})
    tokens = 5 * 24 * 4  # the class token's feature is a view of them
    assert activation_bytes(model, (3, 16, 16), "a", bf16=False) == tokens
    hyper = {"kind": "am_flow", "adapter": {"kind": "hyperformer"}, "adapters": "shared"}
    adapted = small_model(temporal=hyper, model={"freeze": ["backbone"]})
    counted = count_multiply_adds(adapted, (4, 3, 16, 16), "a")
    assert counted.total > count_multiply_adds(model, (4, 3, 16, 16), "a").total


def test_precision_and_batches_of_activations() -> None:
    model = small_model()
    half = activation_bytes(model, (3, 16, 16), "a")
    assert half < activation_bytes(model, (3, 16, 16), "a", bf16=False) < 2 * half
