"""What a model costs: its parameters, the multiply-adds of a view, the memory of a training step.

Nothing is computed: a model on the `meta` device goes through its forward pass with tensors that
have shapes and no values.
"""

from ivvit_cli.models.cost.memory import activation_bytes, state_bytes
from ivvit_cli.models.cost.operations import MultiplyAdds, count_multiply_adds
from ivvit_cli.models.cost.parameters import Part, count_parameters

__all__ = [
    "MultiplyAdds",
    "Part",
    "activation_bytes",
    "count_multiply_adds",
    "count_parameters",
    "state_bytes",
]
