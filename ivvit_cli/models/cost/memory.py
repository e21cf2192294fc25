"""Memory of a training step, estimated from what autograd keeps."""

from collections import defaultdict
from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.hooks import RemovableHandle

from ivvit_cli.models.cost.fake import State, fake_state, run
from ivvit_cli.models.joint import JointModel

_FLOAT = 4  # bytes
# Gradients are one float per trained parameter; AdamW keeps two more, SGD with momentum one.
_MOMENTS = {"adamw": 2, "sgd": 1}


def state_bytes(model: JointModel, optimiser: str) -> int:
    """Return the bytes of weights, gradients and an optimiser's moments, all in float32."""
    total = sum(parameter.numel() for parameter in model.parameters())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return _FLOAT * (total + (1 + _MOMENTS[optimiser]) * trained)


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
    two, one = (_kept(model, (batch, *shape), dataset, bf16) for batch in (2, 1))
    kept = {place: two[place] - one.get(place, 0) for place in two}
    if not checkpointing:
        return sum(bytes_ for (_, what), bytes_ in kept.items() if what == "kept")
    blocks = [bytes_ for (block, what), bytes_ in kept.items() if block and what == "kept"]
    inputs = sum(bytes_ for (_, what), bytes_ in kept.items() if what == "input")
    return kept[None, "kept"] + inputs + max(blocks)


Kept = dict[tuple[str | None, str], int]


def _kept(model: JointModel, shape: tuple[int, ...], dataset: str, bf16: bool) -> Kept:
    """Return what is kept by block (None: outside of any), and the bytes of each one's input."""
    was_training = model.training
    model.train()
    with fake_state(model, trained=True) as state:
        ledger = _Ledger(state)
        handles = ledger.watch(model.encoder.vit.blocks)
        autocast = torch.autocast("cpu", torch.bfloat16) if bf16 else nullcontext()
        with saved_tensors_hooks(ledger.pack, lambda tensor: tensor), autocast:
            run(model, state, shape, dataset)
    for handle in handles:
        handle.remove()
    model.train(was_training)
    return ledger.kept


class _Ledger:
    """Counts each storage that autograd keeps, once, for the block that keeps it first."""

    def __init__(self, state: State) -> None:
        self.kept: Kept = defaultdict(int)
        self.block: str | None = None
        self._seen = {value.untyped_storage()._cdata for value in state.values()}
        self._alive: list[Tensor] = []  # so that no storage takes the place of a dead one

    def pack(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in self._seen:
            self._seen.add(storage._cdata)
            self._alive.append(tensor)
            self.kept[self.block, "kept"] += storage.nbytes()
        return tensor

    def watch(self, blocks: nn.Sequential) -> list[RemovableHandle]:
        handles = []
        for name, block in blocks.named_children():
            handles += [
                block.register_forward_pre_hook(lambda _, args, name=name: self._enter(name, args)),
                block.register_forward_hook(lambda *_: self._leave()),
            ]
        return handles

    def _enter(self, name: str, args: tuple[Tensor, ...]) -> None:
        self.block = name
        self.kept[name, "input"] += args[0].nbytes

    def _leave(self) -> None:
        self.block = None
