"""The memory and the FLOPs of a training step, held against real steps on the CPU."""

import weakref
from typing import Any

import pytest
import torch
from small_models import small_model
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ivvit_cli.models import JointModel
from ivvit_cli.models.cost import (
    Layout,
    count_multiply_adds,
    keep_activations,
    peak_activations,
    step_memory,
    training_flops,
)
from ivvit_cli.training.optim import build_optimiser

CLIP = (4, 3, 64, 64)
DIVIDED = {"kind": "divided", "frames": 4}
FROZEN = {"freeze": ["backbone"]}


class Live(TorchDispatchMode):
    """Counts the bytes of all tensors that are alive, but for those that were there before."""

    def __init__(self, before: list[torch.Tensor]) -> None:
        super().__init__()
        self._seen = {tensor.untyped_storage()._cdata for tensor in before}
        self.now = self.most = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                self._count(tensor.untyped_storage())
        return out

    def _count(self, storage: torch.UntypedStorage) -> None:
        if storage._cdata not in self._seen:
            self._seen.add(storage._cdata)
            self.now += storage.nbytes()
            self.most = max(self.most, self.now)
            weakref.finalize(storage, self._forget, storage._cdata, storage.nbytes())

    def _forget(self, place: int, size: int) -> None:
        self._seen.discard(place)
        self.now -= size


def model_of(temporal: dict[str, Any], **section: Any) -> JointModel:
    args = {"img_size": 64, "patch_size": 8, "embed_dim": 96}
    return small_model(temporal=temporal, model=section, depth=6, **args).train()


def real_peak(model: JointModel, count: int, *, bf16: bool) -> int:
    """Return the most bytes of activations and their gradients in a real step."""
    clips = torch.randn(count, *CLIP)
    with Live([*model.parameters()]) as live:
        with torch.autocast("cpu", torch.bfloat16, bf16, cache_enabled=False):
            loss = model(clips.clone(), "a").float().square().sum()
        loss.backward()
    return live.most


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize(
    ("temporal", "section", "bf16"),
    [
        ({"kind": "token_shift"}, {}, False),
        (DIVIDED, {}, True),
        ({"kind": "joint", "frames": 4}, {}, False),
        ({"kind": "st_adapter"}, FROZEN, True),
    ],
)
def test_activations_are_those_of_a_real_step(
    temporal: dict[str, Any], section: dict[str, Any], bf16: bool, checkpointing: bool
) -> None:
    model = model_of(temporal, **section)
    kept = {"a": keep_activations(model, CLIP, "a", bf16=bf16)}
    estimate = peak_activations(kept, {"a": 4}, Layout("ddp", 1, checkpointing, 1))
    model.encoder.vit.set_grad_checkpointing(checkpointing)
    assert 0.75 * estimate < real_peak(model, 4, bf16=bf16) <= 1.02 * estimate


def test_a_batch_is_cut_for_gpus_and_micro_batches() -> None:
    kept = {name: keep_activations(model_of(DIVIDED), CLIP, "a") for name in "ab"}
    layout = Layout("ddp", gpus=2, checkpointing=False, accumulate=3)
    assert [layout.samples(batch) for batch in (1, 6, 7, 12, 13)] == [1, 1, 2, 2, 3]
    one, two = (kept["a"].until_backward(n, checkpointing=False) for n in (1, 2))
    both = peak_activations(kept, {"a": 12, "b": 5}, layout)
    assert both == one + two + -(-kept["a"].of_block(2) // 2)


def of_layout(model: JointModel, parallel: Any, gpus: int) -> Any:
    layout = Layout(parallel, gpus, checkpointing=False, accumulate=1)
    return step_memory(model, layout, optimiser="adamw", averaged=True, activations=1000)


def test_the_state_is_that_of_a_real_optimiser() -> None:
    model = model_of(DIVIDED, freeze=["encoder.vit.blocks.0.*"])
    trained = [p for p in model.parameters() if p.requires_grad]
    optimiser = build_optimiser(trained, name="adamw", lr=1e-3, weight_decay=0.0)
    for parameter in trained:
        parameter.grad = torch.ones_like(parameter)
    optimiser.step()
    moments = sum(
        state[name].nbytes
        for state in optimiser.state.values()
        for name in ("exp_avg", "exp_avg_sq")
    )
    found = of_layout(model, "ddp", 1)
    assert found.weights == sum(p.nbytes for p in model.parameters())
    assert found.gradients == found.average == sum(p.nbytes for p in trained)
    assert found.moments == moments
    assert found.exchange == found.validation == 0
    assert found.total == found.weights + 2 * found.gradients + moments + 1000


def test_what_fsdp_divides() -> None:
    model = model_of(DIVIDED)
    alone, many = of_layout(model, "ddp", 1), of_layout(model, "ddp", 8)
    divided = of_layout(model, "fsdp", 8)
    assert many.total == alone.total + alone.gradients
    block = sum(p.nbytes for p in model.encoder.vit.blocks[0].parameters())
    for part in ("weights", "gradients", "moments", "average"):
        assert getattr(divided, part) == -(-getattr(alone, part) // 8)
    assert divided.exchange == 4 * block + 2 * (alone.weights - 6 * block)
    assert divided.validation == alone.weights
    assert of_layout(model, "fsdp", 1) == alone


def test_flops_of_a_step() -> None:
    """A backward pass is two forward passes, less what patches need no gradient of; attention's
    computes the products of queries and keys anew."""
    model = model_of({"kind": "none"})
    forward = count_multiply_adds(model, CLIP, "a")
    patches = 2 * 4 * 64 * 3 * 64 * 96
    expected = 6 * forward.linear - patches + 7 * forward.attention
    assert training_flops(model, CLIP, "a", checkpointing=False) == expected
    assert training_flops(model, CLIP, "a", checkpointing=True) == expected + 2 * forward.total
    frozen = model_of({"kind": "none"}, **FROZEN)
    assert training_flops(frozen, CLIP, "a", checkpointing=False) < 2.01 * forward.total
