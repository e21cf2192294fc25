"""The GPUs that a training is planned for: how many, how large and how fast."""

import re
from dataclasses import dataclass
from typing import Literal

import torch

from ivvit_cli.errors import UsageError
from ivvit_cli.training.distributed import ranks_of_environment

_UNITS = {"GB": 10**9, "GiB": 2**30, "TB": 10**12, "TiB": 2**40}
_SIZE = re.compile(rf"([0-9]+(?:\.[0-9]+)?) ?({'|'.join(_UNITS)})")

Precision = Literal["bf16", "fp32"]

# TFLOP/s of dense products in bf16, and in fp32 without TF32, which training does not use, that the
# data sheets print; the longest name that fits counts.
_PEAKS: dict[str, dict[Precision, float]] = {
    "A10": {"bf16": 125, "fp32": 31.2},
    "A100": {"bf16": 312, "fp32": 19.5},
    "A6000": {"bf16": 155, "fp32": 38.7},
    "B200": {"bf16": 2250, "fp32": 75},
    "GB200": {"bf16": 2500, "fp32": 80},
    "H100": {"bf16": 989, "fp32": 67},
    "H100 PCIe": {"bf16": 756, "fp32": 51},
    "H200": {"bf16": 989, "fp32": 67},
    "L4": {"bf16": 121, "fp32": 30.3},
    "L40": {"bf16": 181, "fp32": 90.5},
    "L40S": {"bf16": 362, "fp32": 91.6},
    "RTX 3090": {"bf16": 71, "fp32": 35.6},
    "RTX 4090": {"bf16": 165, "fp32": 82.6},
    "RTX 5090": {"bf16": 210, "fp32": 104.8},
}
# Of that peak, what a ViT's training reaches when the loader keeps up. In fp32 it is a guess:
# memory keeps up better with slower products.
_SHARE: dict[Precision, float] = {"bf16": 0.4, "fp32": 0.7}
_ANY: dict[Precision, float] = {"bf16": 100.0, "fp32": 20.0}  # TFLOP/s, where nothing is known


@dataclass(frozen=True)
class Machine:
    """What a run is planned for.

    Attributes:
        memory: of a GPU, in bytes; None where it is unknown.
        precision: in which it trains.
        tflops: TFLOP/s that a GPU sustains in it, and where that number is from.
    """

    gpus: int
    memory: int | None
    precision: Precision
    tflops: float
    source: str


def find_machine(
    gpus: int | None = None,
    memory: str | None = None,
    tflops: float | None = None,
    precision: str = "auto",
) -> Machine:
    """Return the machine that is asked for; what is None is that of the present GPUs.

    Args:
        gpus: else as many as torchrun has started processes.
        memory: of a GPU, as in 80GiB.
        tflops: TFLOP/s that a GPU sustains.
        precision: a recipe's `train.precision`.

    Raises:
        UsageError: the memory is no size, or a number is not positive.
    """
    for name, number in (("--gpus", gpus), ("--tflops", tflops)):
        if number is not None and number <= 0:
            raise UsageError(f"{name} {number}: has to be positive")
    there = torch.cuda.device_count()
    trained: Precision = "fp32" if precision == "fp32" else "bf16"
    speed, source = (tflops, "as given") if tflops else _speed(there, trained)
    if memory:
        size: int | None = parse_memory(memory)
    else:
        size = torch.cuda.get_device_properties(0).total_memory if there else None
    processes = ranks_of_environment().world
    count = gpus or (processes if processes > 1 else max(there, 1))
    return Machine(count, size, trained, speed, source)


def parse_memory(text: str) -> int:
    """Return the bytes of a size such as 80GiB (2^30 bytes each) or 80GB (10^9).

    Raises:
        UsageError: it is none.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"--memory {text}: is no size", hint="for example 80GiB")
    return int(float(match[1]) * _UNITS[match[2]])


def _speed(there: int, precision: Precision) -> tuple[float, str]:
    if not there:
        return _ANY[precision], "assumed, as there is no GPU here; --tflops says another"
    name = torch.cuda.get_device_name(0)
    peak = peak_tflops(name, precision)
    if peak is None:
        return _ANY[precision], f"assumed, as {name} is not known here; --tflops says another"
    share = _SHARE[precision]
    return share * peak, f"assumed: {share:.0%} of the {peak} that {name} is sold with"


def peak_tflops(name: str, precision: Precision) -> float | None:
    """Return the TFLOP/s of a GPU by the name that CUDA gives it; None for an unknown one."""
    known = [each for each in _PEAKS if re.search(rf"\b{each}\b", name)]
    return _PEAKS[max(known, key=len)][precision] if known else None
