"""Every temporal kind with every way of training a ViT: the table of what goes together."""

import os
import socket
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from small_models import images, small_model
from torch import Tensor, distributed
from torch.nn.parallel import DistributedDataParallel

from ivvit_cli.models import JointModel

KINDS: dict[str, dict[str, Any]] = {
    "none": {},
    "separate": {"model": {"separate": ["patch", "pos", "cls"]}},
    "token_shift": {"temporal": {"kind": "token_shift"}},
    "msca": {"temporal": {"kind": "msca"}},
    "msca-p": {"temporal": {"kind": "msca", "variant": "pQV", "backward": 1, "forward": 2}},
    "divided": {"temporal": {"kind": "divided", "frames": 4}},
    "joint": {"temporal": {"kind": "joint", "frames": 4}},
    "space_only": {"temporal": {"kind": "space_only"}},
    "tubelet": {"temporal": {"kind": "tubelet", "frames": 4}},
}
VITS: dict[str, dict[str, Any]] = {
    "vit_tiny_patch16_224": {},
    "deit_tiny_distilled_patch16_224": {},
    "deit3_small_patch16_224": {},
    "vit_small_patch14_dinov2": {"img_size": 28, "patch_size": 14},
    "vit_small_patch14_reg4_dinov2": {"img_size": 28, "patch_size": 14},
    "vit_base_patch16_clip_quickgelu_224": {},
    "vit_base_patch16_224_miil": {"global_pool": "avg", "qk_norm": True},
}


def model_of(kind: str, backbone: str = "vit_tiny_patch16_224", **args: Any) -> JointModel:
    return small_model(backbone, **KINDS[kind], **VITS[backbone] | args)


def inputs(model: JointModel) -> tuple[Tensor, Tensor]:
    size = model.input.size
    return images(4, 3, size, size).double(), images(2, 4, 3, size, size, seed=2).double()


def outcome(model: torch.nn.Module, x: Tensor) -> list[Tensor]:
    """The logits and all gradients of a pass whose dropped paths follow from a seed."""
    model.zero_grad(set_to_none=True)
    torch.manual_seed(3)
    logits: Tensor = model(x, "a")
    logits.square().sum().backward()
    return [logits.detach(), *(p.grad for p in model.parameters() if p.grad is not None)]


def assert_same(one: list[Tensor], other: list[Tensor]) -> None:
    for ours, theirs in zip(one, other, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("backbone", VITS)
@pytest.mark.parametrize("kind", KINDS)
def test_any_vit_learns_from_images_and_clips(kind: str, backbone: str) -> None:
    model = model_of(kind, backbone, drop_path_rate=0.3, init_values=0.1).double()
    for x in inputs(model):
        found = outcome(model.train(), x)
        assert all(value.isfinite().all() for value in found)
    still, _ = inputs(model.eval())
    assert torch.equal(model(still, "a"), model(still[:, None], "a"))


@pytest.mark.parametrize("kind", KINDS)
def test_recomputed_activations_give_the_same_gradients(kind: str) -> None:
    model = model_of(kind, drop_path_rate=0.3, init_values=0.1).double().train()
    for x in inputs(model):
        model.encoder.vit.set_grad_checkpointing(False)
        kept = outcome(model, x)
        model.encoder.vit.set_grad_checkpointing()
        assert_same(outcome(model, x), kept)


OWN_BLOCKS = ("token_shift", "msca", "msca-p", "divided")
COMPILED = [("tubelet", False), *product(OWN_BLOCKS, (False, True))]


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize(("kind", "recomputed"), COMPILED)
def test_compiled_blocks_give_the_same_gradients(kind: str, recomputed: bool) -> None:
    """The tracer and the partitioner alone, since code generation takes long."""
    plain, traced = (model_of(kind, init_values=0.1).double().train() for _ in range(2))
    traced.encoder.vit.set_grad_checkpointing(recomputed)
    torch.compiler.reset()
    for block in traced.encoder.vit.blocks:
        block.compile(backend="aot_eager", fullgraph=True, dynamic=False)
    for x in inputs(plain):
        assert_same(outcome(traced, x), outcome(plain, x))


def compare_gradients() -> None:
    """As one of two processes: compare their gradients to those of one on the joined batch."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo")
    for kind in KINDS:
        model = model_of(kind, init_values=0.1).double().train()
        model.encoder.vit.set_grad_checkpointing()
        wrapped = DistributedDataParallel(model, find_unused_parameters=True)
        for x in inputs(model):
            alone = outcome(model, x)[1:]
            share = x.chunk(2)[distributed.get_rank()]
            assert_same([2 * mean for mean in outcome(wrapped, share)[1:]], alone)
    distributed.destroy_process_group()


def test_two_processes_give_the_gradients_of_one() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(probe.getsockname()[1])}
    code = "import test_temporal_table; test_temporal_table.compare_gradients()"
    here = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1])])
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            env=os.environ | place | {"WORLD_SIZE": "2", "RANK": rank, "PYTHONPATH": here},
        )
        for rank in "01"
    ]
    assert [rank.wait(timeout=120) for rank in ranks] == [0, 0]
