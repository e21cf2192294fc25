"""What a model costs: its parameters, the multiply-adds of a view, the memory of a training step.

Nothing is computed: a model on the `meta` device goes through its forward pass with tensors that
have shapes and no values.
"""

from ivvit_cli.models.cost.memory import (
    Activations,
    activation_bytes,
    keep_activations,
    state_bytes,
)
from ivvit_cli.models.cost.operations import MultiplyAdds, count_multiply_adds
from ivvit_cli.models.cost.parameters import Part, count_parameters
from ivvit_cli.models.cost.step import (
    Layout,
    StepMemory,
    peak_activations,
    step_memory,
    training_flops,
)

__all__ = [
    "Activations",
    "Layout",
    "MultiplyAdds",
    "Part",
    "StepMemory",
    "activation_bytes",
    "count_multiply_adds",
    "count_parameters",
    "keep_activations",
    "peak_activations",
    "state_bytes",
    "step_memory",
    "training_flops",
]
