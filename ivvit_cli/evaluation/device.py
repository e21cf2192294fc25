"""Where a model runs."""

import re

import torch

from shards.errors import EnvironmentFault, UsageError


def wants_bf16(precision: str, device: torch.device) -> bool:
    """Tell whether a model runs under bf16 autocast; `auto` means on CUDA."""
    return precision == "bf16" or (precision == "auto" and device.type == "cuda")


def choose_device(name: str | None) -> torch.device:
    """Return the device of that name; `auto` or None is the GPU if there is one, else the CPU.

    Raises:
        UsageError: the name is not `auto`, `cpu`, `cuda` or `cuda:N`.
        EnvironmentFault: this machine has no such GPU.
    """
    if name in (None, "auto"):
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise UsageError(f"--device {name}: no such device", hint="auto, cpu, cuda or cuda:N")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise EnvironmentFault(
            f"--device {name}: this machine has {torch.cuda.device_count()} usable GPUs",
            hint="ivvit doctor",
        )
    return device
