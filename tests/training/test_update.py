"""The losses of an update against their definition, and its micro-batches."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_runs import MODEL

from ivvit_cli.config import load_recipe
from ivvit_cli.evaluation.device import wants_bf16
from ivvit_cli.models import build_model
from ivvit_cli.training.assemble import make_trainer
from ivvit_cli.training.distributed import Ranks
from ivvit_cli.training.job import job_of
from ivvit_cli.training.optim import build_optimiser
from ivvit_cli.training.prepared import prepare
from ivvit_cli.training.update import Update, micro_batches
from shards.stream.batch import Batch
from shards.stream.colour import NEUTRAL

pytest_plugins = ["training_fixtures"]

INPUT = {"size": 32, "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.4)}


def make_batch(name, count, frames, weights=None, total=None):
    torch.manual_seed(count)
    return Batch(
        dataset=name,
        kind="video" if frames > 1 else "image",
        frames=torch.randint(0, 256, (count, frames, 40, 48, 3), dtype=torch.uint8),
        boxes=torch.tensor([[2.0, 3.0, 30.0, 35.0]] * count, dtype=torch.float64),
        cuts=torch.tensor([[0, 0, 40, 48]] * count),
        flips=torch.arange(count) % 2 == 0,
        colours=torch.tensor([NEUTRAL] * count),
        labels=torch.arange(count) % 3,
        weights=torch.ones(count) if weights is None else torch.tensor(weights),
        count=total or count,
        keys=tuple(f"{name}{i}" for i in range(count)),
    )


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = build_model(MODEL, {"a": 3, "b": 3})
    for parameter in model.heads.parameters():
        torch.nn.init.normal_(parameter)
    return model


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("frames", [1, 4])
def test_loss_is_its_definition(model, smoothing, frames):
    batch = make_batch("a", 4, frames, weights=[1.0, 1.0, 1.0, 0.0], total=7)
    outcome = Update(model, **INPUT, label_smoothing=smoothing)({"a": batch})["a"]
    logits = model(batch.render(*INPUT.values()), "a").double()
    loss = correct = 0.0
    for row, label in zip(logits[:3].tolist(), batch.labels.tolist(), strict=False):
        total = math.log(sum(map(math.exp, row)))
        target = [smoothing / 3 + (1 - smoothing) * (k == label) for k in range(3)]
        loss += sum(t * (total - x) for t, x in zip(target, row, strict=True)) / 7
        correct += max(row) == row[label]
    assert outcome.loss.item() == pytest.approx(loss, rel=1e-5)
    assert outcome.correct.item() == correct


@pytest.mark.parametrize("samples", [3, 2, 1])
def test_fillers_are_not_in_the_statistics_of_a_batch_norm(samples):
    """But beside a single sample, which has none of its own."""
    torch.manual_seed(0)
    section = {**MODEL, "temporal": {"kind": "adaptformer", "width": 4}, "freeze": ["backbone"]}
    update = Update(build_model(section, {"a": 3}).train(), **INPUT)
    whole = make_batch("a", 4, 4, weights=[1.0] * samples + [0.0] * (4 - samples), total=samples)
    whole = replace(whole, keys=whole.keys[:samples] + ("",) * (4 - samples))
    loss = update({"a": whole})["a"].loss
    assert loss.isfinite()
    if samples > 1:
        frames = torch.cat((whole.frames[:samples], 255 - whole.frames[samples:]))
        assert torch.equal(update({"a": replace(whole, frames=frames)})["a"].loss, loss)


def test_bf16_keeps_the_loss_in_float32(model):
    batches = {"a": make_batch("a", 4, 1)}
    exact = Update(model, **INPUT)(batches)["a"].loss
    rounded = Update(model, **INPUT, bf16=True)(batches)["a"].loss
    assert rounded.dtype == torch.float32
    assert rounded != exact
    assert rounded.item() == pytest.approx(exact.item(), rel=2e-2)


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 12))
def test_micro_batches_hold_every_sample_once(first, second, parts):
    batches = {"a": make_batch("a", first, 1), "b": make_batch("b", second, 2)}
    cut = micro_batches(batches, parts)
    assert len(cut) == min(parts, max(first, second))
    assert set(cut[-1]) == {"a", "b"}
    for name, batch in batches.items():
        pieces = [part[name] for part in cut if name in part]
        assert sum((piece.keys for piece in pieces), ()) == batch.keys
        assert {piece.count for piece in pieces} == {batch.count}


@pytest.mark.parametrize(
    ("precision", "device", "wanted"),
    [
        ("auto", "cpu", False),
        ("auto", "cuda", True),
        ("fp32", "cuda", False),
        ("bf16", "cpu", True),
    ],
)
def test_precision(precision, device, wanted):
    assert wants_bf16(precision, torch.device(device)) == wanted


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_optimiser_skips_what_has_no_gradient(name):
    """Torch's fused SGD fails here: the second parameter's momentum begins a step later."""
    first, second = (torch.nn.Parameter(torch.ones(3)) for _ in range(2))
    optimiser = build_optimiser([first, second], name=name, lr=0.1, weight_decay=0.5)
    first.grad = torch.ones(3)
    optimiser.step()
    assert torch.equal(second, torch.ones(3))
    assert second not in optimiser.state or not optimiser.state[second]
    before = first.detach().clone()
    first.grad, second.grad = None, torch.ones(3)
    optimiser.step()
    assert torch.equal(first, before)
    first.grad = torch.ones(3)
    optimiser.step()


def test_activation_checkpointing_gives_the_same_gradients(recipe, tmp_path):
    """Twice the forward passes of a block, whose dropped paths fall alike."""
    gradients, passes = [], []
    for wanted in ("false", "true"):
        job = job_of(load_recipe(str(recipe), [f"train.activation_checkpointing={wanted}"]))
        trainer = make_trainer(
            prepare(job),
            tmp_path,
            device=torch.device("cpu"),
            ranks=Ranks(),
            saved=None,
            frozen=None,
            journal=None,
        )
        for head in trainer.update.model.heads.parameters():
            torch.nn.init.normal_(head, generator=torch.Generator().manual_seed(0))
        seen = []
        block = trainer.update.model.encoder.vit.blocks[1]
        block.register_forward_pre_hook(lambda *_, seen=seen: seen.append(1))
        torch.manual_seed(1)
        trainer._forward_backward({"films": make_batch("films", 2, 4)})
        passes.append(len(seen))
        gradients.append([p.grad for p in trainer._parameters() if p.grad is not None])
    assert passes == [1, 2]
    assert gradients[0][0].any()
    assert all(map(torch.equal, *gradients))
