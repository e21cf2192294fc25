"""Multiply-adds of a forward pass, in the two ways in which papers count them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from ivvit_cli.models.cost.fake import fake_state, run
from ivvit_cli.models.joint import JointModel

# A product of two activations is one of batches of matrices, or attention in one operator.
_PRODUCTS = ("bmm", "attention")


def _count_recurrent(
    steps: Sequence[int], inputs: Sequence[int], hidden: Sequence[int], *_: Any, **__: Any
) -> int:
    """Count the FLOPs of a recurrent layer from shapes: steps (T, B, D), and its two matrices."""
    return 2 * math.prod(steps[:2]) * (math.prod(inputs) + math.prod(hidden))


def _count_attention(
    query: Sequence[int], key: Sequence[int], value: Sequence[int], *_: Any, **__: Any
) -> int:
    """Count the FLOPs of attention from the shapes (B, heads, N, D) of queries, keys and values."""
    return 2 * math.prod(query[:3]) * key[2] * (query[3] + value[3])


def _count_attention_gradients(
    grad: Sequence[int],
    query: Sequence[int],
    key: Sequence[int],
    value: Sequence[int],
    *_: Any,
    **__: Any,
) -> int:
    """Count those of its backward pass, which computes the attention maps again."""
    return 2 * math.prod(query[:3]) * key[2] * (3 * query[3] + 2 * value[3])


_aten = torch.ops.aten
OPERATORS = {  # which torch does not count, or not in all its versions
    _aten.mkldnn_rnn_layer: _count_recurrent,
    _aten._scaled_dot_product_flash_attention_for_cpu: _count_attention,
    _aten._scaled_dot_product_flash_attention_for_cpu_backward: _count_attention_gradients,
}


@dataclass(frozen=True)
class MultiplyAdds:
    """The multiply-adds of matrix products and convolutions; two of torch's FLOPs are one.

    Attributes:
        linear: those with a weight.
        attention: those of queries with keys, and of attention maps with values.
    """

    linear: int
    attention: int

    @property
    def total(self) -> int:
        """All of them, as TimeSformer, CoVeR and AM Flow print; TokenShift and MSCA: `linear`."""
        return self.linear + self.attention


def count_multiply_adds(model: JointModel, shape: tuple[int, ...], dataset: str) -> MultiplyAdds:
    """Count those of one input of a shape, (3, H, W) or (T, 3, H, W), in evaluation.

    Args:
        model: one on the `meta` device will do.
    """
    training = model.training
    model.eval()
    counter = FlopCounterMode(display=False, custom_mapping=OPERATORS)
    with fake_state(model, trained=False) as state, torch.no_grad(), counter:
        run(model, state, (1, *shape), dataset)
    model.train(training)
    flops = counter.get_flop_counts()["Global"]
    products = sum(n for op, n in flops.items() if any(kind in str(op) for kind in _PRODUCTS))
    return MultiplyAdds((sum(flops.values()) - products) // 2, products // 2)
