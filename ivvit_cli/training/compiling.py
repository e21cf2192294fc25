"""Compiled blocks, and how many compilations they may take."""

import os
import shutil
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ivvit_cli.errors import EnvironmentFault
from ivvit_cli.models import JointModel


@dataclass(frozen=True)
class Compilations:
    """Counts the graphs that a model's blocks are compiled to.

    Args:
        expected: one per kind of block, dataset and mode (training, validation).
        before: graphs that were compiled before this model's.
    """

    expected: int
    before: int

    def complaint(self) -> str | None:
        """Return a sentence on graphs beyond the expected ones, if there are any."""
        graphs = _graphs() - self.before
        if graphs <= self.expected:
            return None
        return (
            f"compiled {graphs} graphs where {self.expected} should do: shapes change from update "
            "to update; let train.accumulate divide every batch, or leave out train.compile"
        )


def compile_blocks(
    model: JointModel, passes: int, backend: str | Callable[..., Any] = "inductor"
) -> Compilations:
    """Compile each block for itself: short compilations, of which equal blocks share one.

    Args:
        passes: how many kinds of passes there are: a dataset in training, or in validation.
        backend: of `torch.compile`.

    Raises:
        EnvironmentFault: the backend is inductor, and what it compiles with is not there.
    """
    from torch._dynamo import config  # a second of imports

    if backend == "inductor":
        _check_compiler(on_cuda=next(model.parameters()).is_cuda)

    stages = model.encoder.stages()
    # The first beside a frozen backbone is of a kind of its own: its input has no gradient.
    frozen = not all(parameter.requires_grad for parameter in model.encoder.vit.parameters())
    expected = (len({repr(stage) for stage in stages}) + frozen) * passes
    # Beyond the limit, blocks would run uncompiled and nobody would hear of it.
    config.recompile_limit = max(config.recompile_limit, 2 * expected)
    # It would cut a block in pieces of 25 MB, so that gradients travel sooner: a block is one.
    config.optimize_ddp = False
    for stage in stages:
        stage.compile(dynamic=False, backend=backend)
    return Compilations(expected, _graphs())


def _check_compiler(*, on_cuda: bool) -> None:
    """Refuse a machine that lacks what inductor needs, which would say so at great length."""
    variable, usual = ("CC", "gcc clang") if on_cuda else ("CXX", "g++ clang++")
    if not any(map(shutil.which, os.environ.get(variable, usual).split())):
        raise EnvironmentFault(
            f"train.compile needs a compiler: {os.environ.get(variable, usual)} is not there",
            hint="install gcc and g++, or train.compile=false",
        )
    header = Path(sysconfig.get_path("include"), "Python.h")
    if not header.exists():
        raise EnvironmentFault(
            f"train.compile needs the headers of Python: {header} is not there",
            hint="install python3-dev, or train.compile=false",
        )


def _graphs() -> int:
    """Return how many graphs this process has compiled."""
    from torch._dynamo.utils import counters

    return counters["stats"]["unique_graphs"]
