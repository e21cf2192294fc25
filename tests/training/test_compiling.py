"""Blocks share their compilations, and what is compiled beyond need is said."""

import sysconfig
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import MODEL
from torch import distributed
from torch._dynamo.testing import CompileCounter
from torch.nn.parallel import DistributedDataParallel

from ivvit_cli.errors import EnvironmentFault
from ivvit_cli.models import JointModel, build_model
from ivvit_cli.training.compiling import Compilations, compile_blocks

pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
CLIPS = torch.zeros(2, 4, 3, 32, 32)


def compiled(
    passes: int, backend: str = "eager", **changes: Any
) -> tuple[JointModel, Compilations]:
    """A model whose blocks the tracer alone compiles: code generation takes long."""
    torch.compiler.reset()
    torch.manual_seed(0)
    args = MODEL["backbone_args"] | {"depth": 4, "embed_dim": 8, "drop_path_rate": 0.1}
    model = build_model({**MODEL, "backbone_args": args, **changes}, {"a": 2})
    return model, compile_blocks(model, passes, backend)


def update(model: JointModel, x: torch.Tensor) -> None:
    model.train()
    model(x, "a").sum().backward()


def validate(model: JointModel, x: torch.Tensor) -> None:
    model.eval()
    with torch.no_grad():
        model(x, "a")


def test_blocks_that_drop_other_shares_of_paths_are_compiled_together() -> None:
    """One graph with and one without drop path (the first block) per dataset and mode."""
    model, compilations = compiled(2)
    assert compilations.expected == 4
    for _ in range(2):
        update(model, CLIPS)
        validate(model, CLIPS)
    assert compilations.complaint() is None
    update(model, CLIPS[:1])  # as uneven micro-batches do
    assert "compiled 6 graphs where 4 should do" in str(compilations.complaint())


def test_blocks_of_two_kinds() -> None:
    _, compilations = compiled(1, temporal={"kind": "msca", "blocks": "last:2"})
    assert compilations.expected == 3  # plain without and with drop path, crossing


@pytest.mark.parametrize("unit", ["lstm", "transformer"])
def test_adapters_beside_a_frozen_backbone(unit: str) -> None:
    """The first block's input has no gradient; units stay out, as LSTMs cannot be compiled."""
    temporal = {"kind": "am_flow", "unit": {"kind": unit}}
    model, compilations = compiled(2, temporal=temporal, freeze=["backbone"])
    for _ in range(2):
        update(model, CLIPS)
        validate(model, CLIPS)
    assert compilations.complaint() is None


def test_compiled_adapters_have_the_gradients_of_others() -> None:
    x, grads = torch.randn(2, 4, 3, 32, 32), []
    for backend in ("eager", "aot_eager"):
        model, _ = compiled(1, temporal={"kind": "am_flow"}, freeze=["backbone"], backend=backend)
        model.eval()(x, "a").sum().backward()
        grads.append([p.grad for p in model.parameters() if p.requires_grad])
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other)


def test_blocks_stay_whole_where_gradients_travel_in_buckets() -> None:
    torch.compiler.reset()
    args = MODEL["backbone_args"] | {"depth": 1, "embed_dim": 192}  # of more than a first bucket
    model = build_model({**MODEL, "backbone_args": args}, {"a": 2})
    graphs = CompileCounter()
    compile_blocks(model, 1, graphs)
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    try:
        DistributedDataParallel(model.train())(CLIPS, "a").sum().backward()
    finally:
        distributed.destroy_process_group()
    assert graphs.frame_count == 1


def test_dropped_paths_are_as_many_compiled_as_not() -> None:
    model, _ = compiled(1, temporal={"kind": "none"})
    drop = model.encoder.vit.blocks[-1].drop_path1.train()
    ones = torch.ones(20_000, 1)
    torch.manual_seed(0)
    for run in (drop, torch.compile(drop, backend="eager")):
        kept = run(ones)
        assert kept.unique().tolist() == pytest.approx([0, 1 / 0.9])
        assert kept.mean().item() == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize(
    ("there", "fault"), [([], "needs a compiler"), (["g++"], "needs the headers of Python")]
)
def test_without_a_compiler_one_line_says_so(
    there: list[str], fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in there:
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(tmp_path))
    with pytest.raises(EnvironmentFault, match=fault):
        compiled(1, "inductor")
