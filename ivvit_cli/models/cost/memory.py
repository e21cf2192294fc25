"""Memory of a training step, estimated from what autograd keeps."""

from collections import defaultdict
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.hooks import RemovableHandle

from ivvit_cli.models.adapters.encoder import AdaptedEncoder
from ivvit_cli.models.cost.fake import State, fake_state, run
from ivvit_cli.models.joint import JointModel

FLOAT = 4  # bytes
# Gradients are one float per trained parameter; AdamW keeps two more, SGD with momentum one.
MOMENTS = {"adamw": 2, "sgd": 1}


def state_bytes(model: JointModel, optimiser: str) -> int:
    """Return the bytes of weights, gradients and an optimiser's moments, all in float32."""
    total = sum(parameter.numel() for parameter in model.parameters())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return FLOAT * (total + (1 + MOMENTS[optimiser]) * trained)


@dataclass(frozen=True)
class Activations:
    """What autograd keeps in a training step on a number of inputs, in bytes.

    Workspaces of kernels and the allocator's rounding are not in.

    Args:
        one, two: what it keeps for one input, and for two.
    """

    one: "Kept"
    two: "Kept"

    def until_backward(self, inputs: int, *, checkpointing: bool) -> int:
        """Return what lies there when the backward pass begins.

        Args:
            checkpointing: each block keeps its input alone.
        """
        kept = self._of(inputs)
        whole = sum(bytes_ for (_, what), bytes_ in kept.items() if what == "kept")
        if not checkpointing:
            return whole
        working = {block for (block, what), bytes_ in kept.items() if what == "kept" and bytes_}
        ends = sum(n for (block, what), n in kept.items() if what == "input" and block in working)
        return kept.get((None, "kept"), 0) + ends

    def of_block(self, inputs: int) -> int:
        """Return what the block keeps that keeps most."""
        kept = self._of(inputs)
        return max((n for (block, what), n in kept.items() if block and what == "kept"), default=0)

    def _of(self, inputs: int) -> "Kept":
        more = {place: self.two[place] - self.one.get(place, 0) for place in self.two}
        return {place: self.one.get(place, 0) + (inputs - 1) * more[place] for place in self.two}


def keep_activations(
    model: JointModel, shape: tuple[int, ...], dataset: str, *, bf16: bool = True
) -> Activations:
    """Count what autograd keeps of inputs of a shape, (3, H, W) or (T, 3, H, W).

    Args:
        bf16: under autocast.
    """
    one, two = (_kept(model, (batch, *shape), dataset, bf16) for batch in (1, 2))
    return Activations(one, two)


def activation_bytes(
    model: JointModel,
    shape: tuple[int, ...],
    dataset: str,
    *,
    bf16: bool = True,
    checkpointing: bool = False,
) -> int:
    """Estimate the bytes that one more input in a batch takes until the backward pass.

    It is what autograd keeps for two inputs less what it keeps for one, so copies of weights in
    bf16 are out; workspaces of kernels and the allocator's rounding are not in.

    Args:
        shape: (3, H, W) or (T, 3, H, W).
        bf16: under autocast.
        checkpointing: each block keeps its input alone, and one is recomputed at a time.
    """
    kept = keep_activations(model, shape, dataset, bf16=bf16)
    two, one = (
        kept.until_backward(n, checkpointing=checkpointing)
        + (kept.of_block(n) if checkpointing else 0)
        for n in (2, 1)
    )
    return two - one


Kept = dict[tuple[str | None, str], int]


def _kept(model: JointModel, shape: tuple[int, ...], dataset: str, bf16: bool) -> Kept:
    """Return what is kept by block (None: outside of any), and the bytes of each one's input."""
    was_training = model.training
    model.train()
    with fake_state(model, trained=True) as state:
        ledger = _Ledger(state)
        handles = ledger.watch(_rooms(model))
        autocast = torch.autocast("cpu", torch.bfloat16) if bf16 else nullcontext()
        with saved_tensors_hooks(ledger.pack, lambda tensor: tensor), autocast:
            run(model, state, shape, dataset)
    for handle in handles:
        handle.remove()
    model.train(was_training)
    return ledger.kept


def _rooms(model: JointModel) -> list[nn.Module]:
    """Return the modules each of whose calls is one block's, as checkpointing has it."""
    encoder = model.encoder
    if isinstance(encoder, AdaptedEncoder):
        return list(encoder.adapters.values())
    return list(encoder.vit.blocks)


class _Ledger:
    """Counts each storage that autograd keeps, once, for the block that keeps it first."""

    def __init__(self, state: State) -> None:
        self.kept: Kept = defaultdict(int)
        self.block: str | None = None
        self._calls = 0
        self._seen = {value.untyped_storage()._cdata for value in state.values()}
        self._alive: list[Tensor] = []  # so that no storage takes the place of a dead one

    def pack(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in self._seen:
            self._seen.add(storage._cdata)
            self._alive.append(tensor)
            self.kept[self.block, "kept"] += storage.nbytes()
        return tensor

    def watch(self, modules: Iterable[nn.Module]) -> list[RemovableHandle]:
        return [
            handle
            for module in modules
            for handle in (
                module.register_forward_pre_hook(lambda _, args: self._enter(args)),
                module.register_forward_hook(lambda *_: self._leave()),
            )
        ]

    def _enter(self, args: tuple[Any, ...]) -> None:
        self._calls += 1
        self.block = str(self._calls)
        tokens = next(arg for arg in args if isinstance(arg, Tensor))
        self.kept[self.block, "input"] += tokens.nbytes

    def _leave(self) -> None:
        self.block = None
