"""An exponential moving average of the weights (EMA), which is what is evaluated and shipped."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn

from ivvit_cli.training.fsdp import share


class WeightAverage:
    """The average of trained parameters over the updates.

    After update n it moves by 1 - min(decay, (1 + n) / (10 + n)) towards the weights: at first it
    follows them closely, so that random weights do not linger.

    Args:
        parameters: those that are trained.
        decay: of the average, below 1; its memory is about 1 / (1 - decay) updates.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], decay: float) -> None:
        self._parameters = list(parameters)
        self._decay = decay
        self.updates = 0
        self.values = [parameter.detach().clone() for parameter in self._parameters]

    @torch.no_grad()
    def update(self) -> None:
        """Take the weights in after an update."""
        self.updates += 1
        decay = min(self._decay, (1 + self.updates) / (10 + self.updates))
        torch._foreach_lerp_(self.values, [p.detach() for p in self._parameters], 1 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Have the average in the model's parameters, and the weights again afterwards."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def state(self) -> dict[str, object]:
        """Return what resuming needs beside the average, which the checkpoint's weights are."""
        return {"updates": self.updates, "weights": [p.detach() for p in self._parameters]}

    @torch.no_grad()
    def restore(self, updates: int, weights: Sequence[Tensor]) -> None:
        """Take the model's parameters as the average, and give it the weights of training."""
        self.updates = updates
        for value, parameter, weight in zip(self.values, self._parameters, weights, strict=True):
            value.copy_(parameter)
            parameter.copy_(share(weight, parameter))

    @torch.no_grad()
    def _swap(self) -> None:
        for value, parameter in zip(self.values, self._parameters, strict=True):
            held = parameter.detach().clone()
            parameter.copy_(value)
            value.copy_(held)


def averaged(average: WeightAverage | None) -> AbstractContextManager[None]:
    """Have an average in the model's parameters during a `with` block, if there is one."""
    return average.in_place() if average else nullcontext()
