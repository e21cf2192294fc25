"""A forward pass of shapes alone."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call

from ivvit_cli.models.joint import JointModel

State = dict[str, Tensor]


@contextmanager
def fake_state(model: JointModel, *, trained: bool) -> Iterator[State]:
    """Enter a mode without values, and give the model's parameters and buffers in it.

    With `trained`, those need gradients that do in the model; else none.

    They are the CPU's, whose operators, unlike those of the `meta` device, keep attention in one.
    """
    with FakeTensorMode():
        state = {
            name: torch.empty(value.shape, dtype=value.dtype, device="cpu")
            for name, value in (*model.named_parameters(), *model.named_buffers())
        }
        for name, parameter in model.named_parameters():
            state[name].requires_grad_(trained and parameter.requires_grad)
        yield state


def run(model: JointModel, state: State, shape: tuple[int, ...], dataset: str) -> Tensor:
    """Run a batch of images (B, 3, H, W) or clips (B, T, 3, H, W) through it; to be kept alive."""
    out: Tensor = functional_call(model, state, (torch.empty(shape, device="cpu"), dataset))
    return out
