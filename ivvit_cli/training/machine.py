"""The GPUs that a training is planned for: how many, how large and how fast."""

import re
from dataclasses import dataclass

import torch

from ivvit_cli.errors import UsageError
from ivvit_cli.training.distributed import ranks_of_environment

_UNITS = {"GB": 10**9, "GiB": 2**30, "TB": 10**12, "TiB": 2**40}
_SIZE = re.compile(rf"([0-9]+(?:\.[0-9]+)?) ?({'|'.join(_UNITS)})")

# TFLOP/s of dense bf16 products that the data sheets print; the longest name that fits counts.
_PEAKS = {
    "A10": 125,
    "A100": 312,
    "A6000": 155,
    "B200": 2250,
    "GB200": 2500,
    "H100": 989,
    "H100 PCIe": 756,
    "H200": 989,
    "L4": 121,
    "L40": 181,
    "L40S": 362,
    "RTX 3090": 71,
    "RTX 4090": 165,
    "RTX 5090": 210,
}
_SHARE = 0.4  # of that peak, which a ViT's training reaches when the loader keeps up
_ANY = 100.0  # TFLOP/s, where nothing is known


@dataclass(frozen=True)
class Machine:
    """What a run is planned for.

    Attributes:
        memory: of a GPU, in bytes; None where it is unknown.
        tflops: TFLOP/s that a GPU sustains, and where that number is from.
    """

    gpus: int
    memory: int | None
    tflops: float
    source: str


def find_machine(
    gpus: int | None = None, memory: str | None = None, tflops: float | None = None
) -> Machine:
    """Return the machine that is asked for; what is None is that of the present GPUs.

    Args:
        gpus: else as many as torchrun has started processes.
        memory: of a GPU, as in 80GiB.
        tflops: TFLOP/s that a GPU sustains.

    Raises:
        UsageError: the memory is no size, or a number is not positive.
    """
    for name, number in (("--gpus", gpus), ("--tflops", tflops)):
        if number is not None and number <= 0:
            raise UsageError(f"{name} {number}: has to be positive")
    there = torch.cuda.device_count()
    speed, source = (tflops, "as given") if tflops else _speed(there)
    if memory:
        size: int | None = parse_memory(memory)
    else:
        size = torch.cuda.get_device_properties(0).total_memory if there else None
    processes = ranks_of_environment().world
    return Machine(gpus or (processes if processes > 1 else max(there, 1)), size, speed, source)


def parse_memory(text: str) -> int:
    """Return the bytes of a size such as 80GiB (2^30 bytes each) or 80GB (10^9).

    Raises:
        UsageError: it is none.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"--memory {text}: is no size", hint="for example 80GiB")
    return int(float(match[1]) * _UNITS[match[2]])


def _speed(there: int) -> tuple[float, str]:
    if not there:
        return _ANY, "assumed, as there is no GPU here; --tflops says another"
    name = torch.cuda.get_device_name(0)
    peak = peak_tflops(name)
    if peak is None:
        return _ANY, f"assumed, as {name} is not known here; --tflops says another"
    return _SHARE * peak, f"assumed: {_SHARE:.0%} of the {peak} that {name} is sold with in bf16"


def peak_tflops(name: str) -> int | None:
    """Return the TFLOP/s of a GPU by the name that CUDA gives it; None for an unknown one."""
    known = [each for each in _PEAKS if re.search(rf"\b{each}\b", name)]
    return _PEAKS[max(known, key=len)] if known else None
