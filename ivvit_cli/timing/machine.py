"""What was measured on."""

import os
import platform
import re
from pathlib import Path
from typing import Any

import torch

from shards.stream.pool import available_cores

_CPU_FILE = Path("/proc/cpuinfo")


def describe_machine(device: torch.device) -> dict[str, Any]:
    """Return the device, the processor, how many cores there are and how busy they were."""
    about = _CPU_FILE.read_text() if _CPU_FILE.exists() else ""
    found = re.search(r"model name\s*:\s*(.*)", about)
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return {
        "device": str(device),
        "gpu": gpu,
        "cpu": found[1] if found else platform.machine(),
        "cores": available_cores(),
        "torch_threads": torch.get_num_threads(),
        "load": os.getloadavg()[0],
        "torch": torch.__version__,
    }
