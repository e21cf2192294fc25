"""`ivvit doctor`: what this machine has, and what blocks."""

import os
import platform
import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Annotated, Literal

import typer

from ivvit_cli import __version__, console
from ivvit_cli.errors import EnvironmentFault, IvvitError

GIB = 2**30
LOW_DISK = 5 * GIB  # a run of ViT-B keeps about 1 GiB per checkpoint

_OF_EXTRA = re.compile(r"""([\w.-]+)>=([\d.]+); extra == ['"](\w+)['"]""")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; only `blocks` keeps ivvit from working."""

    what: str
    state: Literal["good", "note", "blocks"]
    detail: str


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Look at this machine: versions, extras, GPU, ffmpeg, disk, memory, and what blocks.

    Examples:
      ivvit doctor
      ivvit doctor --json
    """
    findings = list(_look())
    blocking = [finding.what for finding in findings if finding.state == "blocks"]
    if as_json:
        console.print_json({"ok": not blocking, "findings": [asdict(f) for f in findings]})
    else:
        rows = [(finding.what, finding.state, finding.detail) for finding in findings]
        console.table("This machine", ["what", "state", "detail"], rows)
    if blocking:
        raise EnvironmentFault(f"{', '.join(blocking)}: not fit for ivvit")
    console.next_step("ivvit demo")


def _look() -> Iterator[Finding]:
    yield Finding("ivvit", "good", __version__)
    yield Finding("python", "good", f"{platform.python_version()}, {platform.platform()}")
    yield from _packages()
    yield _extras(metadata.requires("ivvit") or ())
    yield _gpu()
    yield _jpeg()
    yield _ffmpeg()
    yield _cores_and_memory()
    yield _disk()
    yield _recipes()


def _packages() -> Iterator[Finding]:
    for requirement in metadata.requires("ivvit") or ():
        if match := re.fullmatch(r"([\w.-]+)>=([\d.]+)", requirement):
            yield _package(match[1], match[2])


def _package(name: str, least: str) -> Finding:
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Finding(name, "blocks", f"not installed; ivvit needs {least} or later")
    if _numbers(version) < _numbers(least):
        return Finding(name, "blocks", f"{version}, but ivvit needs {least} or later")
    return Finding(name, "good", version)


def _extras(requirements: Iterable[str]) -> Finding:
    """Tell which optional parts are complete; `dev` is for work on ivvit itself."""
    complete: dict[str, bool] = {}
    for requirement in requirements:
        match = _OF_EXTRA.fullmatch(requirement)
        if match and match[3] != "dev":
            good = _package(match[1], match[2]).state == "good"
            complete[match[3]] = complete.get(match[3], True) and good
    there = ", ".join(name for name, whole in complete.items() if whole) or "none"
    lacking = [name for name, whole in complete.items() if not whole]
    if not lacking:
        return Finding("extras", "good", there)
    how = f"pip install 'ivvit[{lacking[0]}]'"
    return Finding("extras", "note", f"{there}; not there: {', '.join(lacking)} ({how})")


def _numbers(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version.partition("+")[0])[:3]]


def _gpu() -> Finding:
    import torch

    if not torch.cuda.is_available():
        return Finding("gpu", "note", "none that PyTorch can use: everything runs on the CPU")
    devices = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    names = [f"{device.name}, {device.total_memory / GIB:.0f} GiB" for device in devices]
    return Finding("gpu", "good", "; ".join(names))


def _jpeg() -> Finding:
    import numpy as np
    import simplejpeg

    pixels = np.full((16, 16, 3), 128, np.uint8)
    decoded = simplejpeg.decode_jpeg(simplejpeg.encode_jpeg(pixels))
    works = bool(np.array_equal(decoded, pixels))
    return Finding("jpeg", "good" if works else "blocks", "simplejpeg decodes what it encodes")


def _ffmpeg() -> Finding:
    from shards.convert.ffmpeg import find_ffmpeg

    try:
        binary = find_ffmpeg()
    except IvvitError as error:
        return Finding("ffmpeg", "blocks", f"{error.message}; {error.hint}")
    return Finding("ffmpeg", "good", f"{binary.version} at {binary.path}")


def _cores_and_memory() -> Finding:
    cores = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Finding("machine", "good", f"{cores} cores, {memory / GIB:.1f} GiB of memory")


def _disk() -> Finding:
    free = shutil.disk_usage(Path.cwd()).free
    if not os.access(Path.cwd(), os.W_OK):
        return Finding("disk", "blocks", f"{Path.cwd()} cannot be written to")
    state: Literal["good", "note"] = "good" if free > LOW_DISK else "note"
    return Finding("disk", state, f"{free / GIB:.1f} GiB free in {Path.cwd()}")


def _recipes() -> Finding:
    from ivvit_cli.recipes_dir import recipes_dir, shipped_recipes

    found = len(shipped_recipes())
    return Finding("recipes", "good" if found else "blocks", f"{found} in {recipes_dir()}")
