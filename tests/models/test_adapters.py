"""Adapters: their equations, that they start as nothing, and who owns them."""

from typing import Any

import naive_am_flow
import naive_vit
import pytest
import torch
from small_models import SMALL, images, randomise, small_model
from torch import Tensor, nn

from ivvit_cli.errors import UsageError
from ivvit_cli.models import JointModel, build_model, load_weights
from ivvit_cli.models.adapters.adapt import Shape, adapt
from ivvit_cli.models.adapters.bottleneck import Bottleneck
from ivvit_cli.models.adapters.compacter import CompacterAdapters
from ivvit_cli.models.adapters.hyperformer import HyperformerAdapters
from ivvit_cli.models.freezing import is_backbone

KINDS: dict[str, dict[str, Any]] = {
    "aligned": {"kind": "am_flow"},
    "vanilla": {"kind": "am_flow", "flow": {"kind": "vanilla"}, "blocks": [1]},
    "plain": {"kind": "am_flow", "flow": {"kind": "none"}, "unit": {"kind": "tcn"}},
    "serial": {"kind": "am_flow", "adapter": {"kind": "plain", "placement": "serial"}},
    "hyperformer": {"kind": "am_flow", "adapter": {"kind": "hyperformer", "width": 16}},
    "compacter": {"kind": "am_flow", "adapter": {"kind": "compacter", "width": 16}},
    "all tokens": {"kind": "am_flow", "unit": {"kind": "transformer", "tokens": "all"}},
    "st_adapter": {"kind": "st_adapter", "width": 8},
    "st_adapter in space": {"kind": "st_adapter", "width": 8, "kernel": [3, 3, 3]},
    "adaptformer": {"kind": "adaptformer"},
}

IDLE = (
    "align.norm.bias",  # the same in both frames
    "blocks.1.adapters.mlp.down.weight",  # after the last attention, patches have no part in the
    "blocks.1.adapters.mlp.down.bias",  # class token
    "blocks.1.adapters.mlp.conv.weight",
    "blocks.1.adapters.mlp.conv.bias",
    "blocks.1.adapters.mlp.up.weight",
    "blocks.1.adapters.mlp.up.bias",
)


def fresh(temporal: dict[str, Any], heads: tuple[str, ...] = ("a",), **model: Any) -> JointModel:
    """Build a model as it starts, but for the backbone, whose every parameter is random."""
    section = {"backbone": "vit_tiny_patch16_224", "backbone_args": SMALL, **model}
    torch.manual_seed(0)
    built = build_model(section | {"temporal": temporal}, dict.fromkeys(heads, 5))
    randomise(built.encoder.vit)
    return built.eval()


@pytest.mark.parametrize("name", KINDS)
def test_the_backbone_is_what_it_was_before_training(name: str) -> None:
    """Bitwise: what the blocks return, of clips and images, and so the features after them."""
    adapted, plain = fresh(KINDS[name]), fresh({"kind": "none"})
    assert adapted.encoder.vit.state_dict().keys() == plain.encoder.vit.state_dict().keys()
    for x in (images(2, 4, 3, 16, 16), images(3, 3, 16, 16)):
        frames = x.shape[1] if x.ndim == 5 else None
        tokens = plain.encoder.embed(x)
        ours = tokens
        for number, block in enumerate(plain.encoder.vit.blocks):
            tokens = block(tokens)
            additions = adapted.encoder.adapters["shared"]
            ours, _ = additions(number, adapted.encoder.vit.blocks[number], ours, frames, "a")
            assert torch.equal(ours, tokens)
        if KINDS[name]["kind"] != "am_flow":
            assert torch.equal(adapted.encoder(x, "a")[0], plain.encoder(x, "a")[0])
        else:
            # All frames at once: products of fewer rows may round otherwise.
            of_frames = plain.encoder(x.reshape(-1, 3, 16, 16), "a")[0]
            last = of_frames.unflatten(0, (len(x), -1))[:, -1]
            assert torch.equal(adapted.encoder(x, "a")[-1], last)


@pytest.mark.parametrize("name", KINDS)
def test_everything_is_learned_and_nothing_of_the_backbone(name: str) -> None:
    model = fresh(KINDS[name], freeze=["backbone"]).train()
    assert not model.encoder.vit.training
    x = images(2, 4, 3, 16, 16)
    before = model(x, "a")
    optimiser = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.1)
    for _ in range(3):  # zero projections hide what is before them from the first gradient
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(x, "a"), torch.tensor([0, 1])).backward()
        optimiser.step()
    for name_of, parameter in model.named_parameters():
        if is_backbone(name_of):
            assert parameter.grad is None
        else:
            assert parameter.grad is not None, name_of
            assert parameter.grad.any() or name_of.endswith(IDLE), name_of
    assert not torch.equal(model(x, "a"), before)


def test_an_adapter_as_the_equations() -> None:
    adapter = randomise(Bottleneck(Shape(6, 4, 3))).double()
    state = dict(adapter.named_parameters())
    x, flow = images(2, 5, 6).double(), 1 + images(2, 5, 3, seed=2).double()
    for still in (0.0, 1.0):
        embedding, change = adapt(adapter.weights(), x, flow, still=still)
        for n in range(2):
            wanted = naive_am_flow.adapter(state, x[n], flow[n])
            for own, other in zip((embedding[n], change[n]), wanted, strict=True):
                torch.testing.assert_close(own, other, rtol=0, atol=1e-12)
    plain = randomise(Bottleneck(Shape(6, 4, 0))).double()
    ours = adapt(plain.weights(), x)
    wanted = naive_am_flow.adapter(dict(plain.named_parameters()), x[0], None)
    torch.testing.assert_close(ours[1][0], wanted[1], rtol=0, atol=1e-12)


def test_little_motion_is_seen_in_bf16() -> None:
    """The flow of a still frame is 1: in bfloat16 a flow of 1.002 would be 1 too."""
    adapter = randomise(Bottleneck(Shape(6, 4, 3)))
    adapter.down.weight.data[:, 6:] *= 100
    adapter.down.bias.data[:] = -adapter.down.weight.data[:, 6:].sum(1)
    x, flow = images(1, 5, 6), torch.full((1, 5, 3), 1.002)
    with torch.autocast("cpu", torch.bfloat16):
        moved = adapt(adapter.weights(), x, flow, still=1.0)[0]
        still = adapt(adapter.weights(), x, torch.ones_like(flow), still=1.0)[0]
    assert not torch.equal(moved, still)


@pytest.mark.parametrize("placement", ["parallel", "serial"])
def test_a_clip_as_the_naive_implementation(placement: str) -> None:
    """All of Figure 2 but for the temporal unit, which is a mean: AM Flow in the second block."""
    temporal = {
        "kind": "am_flow",
        "flow": {"kind": "vanilla"},
        "blocks": [2],
        "adapter": {"kind": "plain", "width": 5, "placement": placement},
        "unit": {"kind": "mean"},
    }
    model, clip = small_model(temporal=temporal).double(), images(1, 3, 3, 16, 16).double()
    with torch.no_grad():
        wanted = naive_features(model, clip[0], placement)
        for own, other in zip(model.encoder(clip, "a"), wanted, strict=True):
            torch.testing.assert_close(own[0], other, rtol=0, atol=1e-10)


def naive_features(model: JointModel, clip: Tensor, placement: str) -> list[Tensor]:
    state = {name: value.numpy() for name, value in model.encoder.vit.state_dict().items()}
    added = model.encoder.adapters["shared"].bank.blocks
    tokens = [torch.tensor(naive_vit.embed(state, frame.numpy())) for frame in clip]
    features: list[Tensor] = []
    for number, block in enumerate(naive_vit.blocks(state)):
        adapters = [dict(added[number][place].named_parameters()) for place in ("attn", "mlp")]
        flows = naive_flows(block, tokens) if number == 1 else [None] * 3
        embeddings: tuple[list[Tensor], list[Tensor]] = ([], [])
        for t, x in enumerate(tokens):
            normed = naive_vit.norm(block, "norm1", x.numpy())
            branch = torch.tensor(naive_vit.attention(block, normed, 3))
            source = x if placement == "parallel" else branch
            first, change = naive_am_flow.adapter(adapters[0], source, flows[t])
            x = x + branch + change
            branch = torch.tensor(naive_vit.mlp(block, naive_vit.norm(block, "norm2", x.numpy())))
            source = x if placement == "parallel" else branch
            second, change = naive_am_flow.adapter(adapters[1], source, None)
            tokens[t] = x + branch + change
            embeddings[0].append(first)
            embeddings[1].append(second)
        if number == 1:
            features = [torch.stack(each).mean((0, 1)) for each in embeddings]
    return [*features, torch.tensor(naive_vit.norm(state, "norm", tokens[-1].numpy())[0])]


def naive_flows(block: dict[str, Any], tokens: list[Tensor]) -> list[Tensor]:
    weight, bias = (torch.tensor(block[f"attn.qkv.{kind}"]) for kind in ("weight", "bias"))
    normed = [torch.tensor(naive_vit.norm(block, "norm1", x.numpy())) for x in tokens]
    qkv = torch.stack([x @ weight.T + bias for x in normed])  # (T, N, 3*D)
    q, k = (part.unflatten(-1, (3, -1)).transpose(1, 2) for part in qkv.chunk(3, dim=-1)[:2])
    flow = naive_am_flow.vanilla(q, k)
    return [*flow, flow[-1]]


def test_compacters_matrix_is_a_sum_of_kronecker_products() -> None:
    bank = randomise(CompacterAdapters([{"attn": Shape(6, 4, 3)}], terms=2)).double()
    weights, own = bank.weights(0, "a")["attn"], bank.blocks[0]["attn"]
    for made, factors in [(weights.down, own.down), (weights.up, own.up)]:
        wanted = sum(
            torch.kron(rule, torch.outer(left, right))
            for rule, left, right in zip(bank.rules, factors.left, factors.right, strict=True)
        )
        torch.testing.assert_close(made, wanted)
    assert (weights.down.shape, weights.up.shape) == ((4, 6), (6, 4))


def test_hyperformers_weights_are_made_of_dataset_block_and_place() -> None:
    shapes = [{"attn": Shape(6, 4, 3), "mlp": Shape(6, 4, 0)}] * 2
    bank = randomise(HyperformerAdapters(shapes, datasets=["a", "b.c"], embedding=5))
    made = [
        bank.weights(block, dataset)[place].down
        for block in range(2)
        for dataset in ("a", "b.c")
        for place in ("attn", "mlp")
    ]
    assert len({tuple(x.flatten().tolist()) for x in made}) == 8
    parameters = sum(p.numel() for p in HyperformerAdapters(shapes * 5, ["a"]).parameters())
    fewer = sum(p.numel() for p in HyperformerAdapters(shapes, ["a"]).parameters())
    assert parameters - fewer == 8 * (64 + 2)  # embeddings of eight more blocks, and their scales


@pytest.mark.parametrize("kind", ["plain", "hyperformer", "compacter"])
def test_a_fresh_bottleneck_is_as_large_as_a_linear_layer(kind: str) -> None:
    temporal = {"kind": "am_flow", "adapter": {"kind": kind, "width": 64}}
    section = {"backbone": "vit_tiny_patch16_224", "backbone_args": {"embed_dim": 192, "depth": 6}}
    torch.manual_seed(0)
    bank = build_model(section | {"temporal": temporal}, {"a": 2}).encoder.adapters["shared"].bank
    made = [bank.weights(block, "a") for block in range(6)]
    down = torch.stack([weights["mlp"].down for weights in made])
    assert down.std().item() == pytest.approx((3 * 192) ** -0.5, rel=0.35)
    assert not any(weights[place].up.any() for weights in made for place in weights)


def test_per_dataset_adapters_leave_those_of_others_alone() -> None:
    heads = ("a", "b.c")
    for temporal in (KINDS["aligned"], KINDS["st_adapter"], KINDS["adaptformer"]):
        model = fresh(temporal | {"adapters": "per-dataset"}, heads, freeze=["backbone"])
        randomise(model, 1)
        x = images(2, 3, 3, 16, 16)
        assert [*model.encoder.adapters] == ["a", "b%2Ec"]
        model(x, "a").sum().backward()
        a, b = (model.encoder.adapters[key] for key in model.encoder.adapters)
        assert any(p.grad is not None for p in a.parameters())
        assert all(p.grad is None for p in b.parameters())
        features = [model.encoder(x, name)[0] for name in heads]
        assert not torch.equal(*features)


def test_the_number_of_outputs() -> None:
    """2 per block and one of the last frame: 25 of a ViT-B, 5 of the paper's AM/2 (1, 12)."""
    args = {"img_size": 16, "patch_size": 8, "embed_dim": 24, "depth": 12, "num_heads": 3}
    section = {"backbone": "vit_base_patch16_224", "backbone_args": args}
    for blocks, last, count in [("all", True, 25), ([1, 12], True, 5), ([1, 12], False, 4)]:
        temporal = {"kind": "am_flow", "blocks": blocks, "last_frame": last}
        model = build_model(section | {"temporal": temporal}, {"a": 3})
        assert len(model.encoder.feature_dims) == len(model.heads["a"].linears) == count
        features = model.encoder(images(1, 2, 3, 16, 16), "a")
        assert tuple(x.shape[1] for x in features) == model.encoder.feature_dims


def test_blocks_without_a_part_in_the_outputs_do_not_run() -> None:
    temporal = {"kind": "am_flow", "blocks": [1], "last_frame": False}
    model = fresh(temporal)
    calls: list[int] = []
    for number, block in enumerate(model.encoder.vit.blocks):
        block.norm1.register_forward_hook(lambda *_, number=number: calls.append(number))
    model(images(1, 2, 3, 16, 16), "a")
    assert calls == [0]


def test_order_is_seen_only_through_units_and_flow() -> None:
    """Plain adapters and a mean: reversed clips have the same features but for the last frame's."""
    clips = images(2, 4, 3, 16, 16)
    still = {"kind": "am_flow", "flow": {"kind": "none"}, "unit": {"kind": "mean"}}
    for temporal, blind in [(still, True), (still | {"unit": {"kind": "lstm"}}, False)]:
        model = small_model(temporal=temporal | {"last_frame": False}).double()
        change = model(clips.double(), "a") - model(clips.double().flip(1), "a")
        assert (change.abs().max() < 1e-10) == blind


def test_a_backbones_weights_load_and_fresh_adapters_stay(tmp_path: Any) -> None:
    plain = small_model(seed=4)
    torch.save(plain.encoder.vit.state_dict(), tmp_path / "vit.pth")
    model = fresh(KINDS["aligned"], freeze=["backbone"])
    before = {n: p.clone() for n, p in model.named_parameters() if not is_backbone(n)}
    report = load_weights(model, str(tmp_path / "vit.pth"))
    assert len(report.loaded) == len(plain.encoder.vit.state_dict())
    assert not report.missing
    assert all(torch.equal(p, before[n]) for n, p in model.named_parameters() if n in before)
    clip = images(1, 3, 3, 16, 16)
    of_frames = plain.encoder(clip.flatten(0, 1), "a")[0].unflatten(0, clip.shape[:2])
    assert torch.equal(model.encoder(clip, "a")[-1], of_frames[:, -1])


def test_activation_checkpointing_changes_nothing() -> None:
    for name in ("aligned", "hyperformer", "st_adapter"):
        model = fresh(KINDS[name], freeze=["backbone"])
        randomise(model, 1)
        x, grads = images(2, 3, 3, 16, 16), []
        for light in (False, True):
            model.encoder.vit.set_grad_checkpointing(light)
            model.encoder.training = True  # without dropout
            model.zero_grad()
            model(x, "a").sum().backward()
            grads.append([p.grad for p in model.parameters() if p.requires_grad])
        assert all(torch.equal(*pair) for pair in zip(*grads, strict=True))


@pytest.mark.parametrize(
    ("temporal", "message"),
    [
        ({"kind": "am_flow", "blocks": [3]}, "some of 1, 2, not \\[3\\]"),
        ({"kind": "am_flow", "blocks": []}, "some of 1, 2"),
        ({"kind": "am_flow", "vote": "loud"}, "vote is mean, frozen_random, learned, not loud"),
        ({"kind": "am_flow", "adapters": "own"}, "shared or per-dataset, not own"),
        ({"kind": "am_flow", "adapter": {"kind": "x"}}, "kind is plain, hyperformer, compacter"),
        ({"kind": "am_flow", "adapter": {"kind": "plain", "placement": "x"}}, "parallel or serial"),
        ({"kind": "am_flow", "adapter": {"kind": "plain", "terms": 2}}, "adapter plain: .*terms"),
        ({"kind": "am_flow", "adapter": {"kind": "compacter", "terms": 5}}, "must divide 24"),
        ({"kind": "st_adapter", "kernel": [2, 1, 1]}, "three odd numbers"),
        ({"kind": "st_adapter", "before": ["head"]}, "lists attn, mlp or both"),
    ],
)
def test_options_that_make_no_sense(temporal: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        small_model(temporal=temporal)
