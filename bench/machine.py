"""What the figures were measured on."""

import os
import platform
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = (
    *("torch", "torchvision", "numpy", "pillow", "simplejpeg", "webdataset"),
    *("imageio-ffmpeg", "av", "torchcodec", "decord"),
)


def describe() -> str:
    """Return the processor, its cores and load, and the versions of what is measured."""
    about = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    found = re.search(r"model name\s*:\s*(.*)", about)
    model = found[1] if found else platform.processor()
    cores, load = len(os.sched_getaffinity(0)), os.getloadavg()[0]
    versions = [f"Python {platform.python_version()}", *map(_version, _PACKAGES)]
    return f"{cores} cores of {model}, load {load:.1f}; {', '.join(versions)}"


def _version(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return f"no {package}"
