"""FSDP2 trains as DDP does, and what it writes are the checkpoints of any run."""

import os
import shutil

import pytest
import torch
from safetensors.torch import load_file
from torch import distributed
from workers import launch_world, outcome, train, wait

from ivvit_cli import runs
from ivvit_cli.models import build_model
from ivvit_cli.training.distributed import Ranks
from ivvit_cli.training.fsdp import gathered, shard

pytest_plugins = ["training_fixtures"]

ALL = (
    "schedule.iterations=4",
    "checkpoint.keep=9",
    "eval.every=1",  # also where nothing is saved
    "optim.clip_norm=0.05",  # below every gradient's
    "train.ema=0.5",
    "optim.layer_decay=0.7",
    "model.backbone_args.drop_path_rate=0",  # every process drops other paths
)
IN_PARTS = ("train.accumulate=2", "train.activation_checkpointing=true", "optim.name=sgd")
FSDP = "train.parallel=fsdp"


def train_in_double(recipe, run, overrides):
    """Train in float64, in which no sum's rounding is worth a step of AdamW."""
    from ivvit_cli.training import session

    make_trainer = session.make_trainer

    def make_double(prepared, *args, **keywords):
        prepared.model.double()
        prepared.model.register_forward_pre_hook(lambda _, args: (args[0].double(), args[1]))
        return make_trainer(prepared, *args, **keywords)

    session.make_trainer = make_double
    train(recipe, run, *overrides)


def trained(recipe, run, *overrides, world=2):
    """Begin or continue a run in float64; return what its last checkpoint holds."""
    assert wait(*launch_world(train_in_double, recipe, run, overrides, world=world)) == [0] * world
    checkpoint = runs.find_checkpoint(run)
    state = torch.load(checkpoint / runs.STATE_FILE, weights_only=True)
    own = {key: state[key] for key in ("optimiser", "average")}
    return {"weights": load_file(checkpoint / runs.WEIGHTS_FILE), **own}


def cut(run, place):
    """Copy a run as it was after its first checkpoint."""
    shutil.copytree(run, place, symlinks=True)
    for checkpoint in runs.list_checkpoints(place)[1:]:
        shutil.rmtree(checkpoint)
    return place


def assert_equal(one, other, path="", tolerance=1e-9):
    """Compare nested values: the same keys, shapes and types, and numbers up to a tolerance."""
    if isinstance(one, torch.Tensor):
        torch.testing.assert_close(one, other, rtol=0, atol=tolerance, msg=path)
    elif isinstance(one, dict | list):
        keys = list(one) if isinstance(one, dict) else range(len(one))
        assert len(one) == len(other), path
        for key in keys:
            assert_equal(one[key], other[key], f"{path}.{key}", tolerance)
    else:
        assert one == other, path


@pytest.fixture(scope="module")
def runs_of_both(recipe, tmp_path_factory):
    """Return the folder of the runs `ddp` and `fsdp`, and what their last checkpoints hold."""
    root = tmp_path_factory.mktemp("both")
    return root, trained(recipe, root / "ddp", *ALL), trained(recipe, root / "fsdp", *ALL, FSDP)


def test_weights_moments_and_average_of_ddp(runs_of_both):
    """Images and videos in turn, so that in each update one of the heads has no gradient."""
    _, ddp, fsdp = runs_of_both
    assert_equal(ddp, fsdp)


def test_accumulation_and_recomputed_blocks(recipe, tmp_path):
    """The last update leaves out a head that has a momentum."""
    ddp, fsdp = (
        trained(recipe, tmp_path / name, *ALL, *IN_PARTS, f"train.parallel={name}")
        for name in ("ddp", "fsdp")
    )
    assert_equal(ddp, fsdp)


def test_resumes_bitwise(recipe, runs_of_both, tmp_path):
    root, _, fsdp = runs_of_both
    assert_equal(trained(recipe, cut(root / "fsdp", tmp_path / "run")), fsdp, tolerance=0)
    assert outcome(tmp_path / "run") == outcome(root / "fsdp")


def test_one_process_goes_on_with_it(recipe, runs_of_both, tmp_path):
    root, _, fsdp = runs_of_both
    assert_equal(trained(recipe, cut(root / "fsdp", tmp_path / "run"), world=1), fsdp)


def test_it_goes_on_with_a_run_of_ddp(recipe, runs_of_both, tmp_path):
    root, ddp, _ = runs_of_both
    assert_equal(trained(recipe, cut(root / "ddp", tmp_path / "run"), FSDP), ddp)


KINDS = (
    {"kind": "none"},
    {"kind": "token_shift"},
    {"kind": "msca", "variant": "pQKV", "backward": 1, "forward": 1},
    {"kind": "divided", "frames": 4},
    {"kind": "joint", "frames": 4},
    {"kind": "space_only"},
    {"kind": "tubelet", "frames": 4},
)
ARGS = {"img_size": 16, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2}


def compare_gradients():
    """Compare with the mean over both processes of a model that is not divided."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo")
    ranks = Ranks(int(os.environ["RANK"]), 2)
    for kind in KINDS:
        plain, divided = tiny(kind), tiny(kind)
        shard(divided, ranks, torch.device("cpu"))
        torch.manual_seed(ranks.rank)
        images, clips = torch.randn(2, 3, 16, 16), torch.randn(2, 4, 3, 16, 16)
        for model in (plain, divided):
            (model(images, "a").square().mean() + model(clips, "b").square().mean()).backward()
        for (name, one), other in zip(plain.named_parameters(), divided.parameters(), strict=True):
            assert (one.grad is None) == (other.grad is None), name
            if one.grad is not None:
                distributed.all_reduce(one.grad)
                assert_equal(one.grad / 2, other.grad.full_tensor(), name, tolerance=1e-6)
        with gathered(divided), torch.no_grad():
            for _ in range(ranks.rank):  # as often as each likes
                assert_equal(plain(clips, "b"), divided(clips, "b"), tolerance=1e-6)
    distributed.destroy_process_group()


def tiny(kind):
    """Return a model of a half frozen backbone, whose head `c` nobody uses."""
    torch.manual_seed(0)
    frozen = ["encoder.vit.blocks.0.*", "encoder.vit.blocks.1.mlp.*"]
    section = {"backbone": "vit_tiny_patch16_224", "backbone_args": ARGS, "temporal": kind}
    model = build_model({**section, "freeze": frozen}, {"a": 3, "b": 2, "c": 5})
    model.encoder.vit.set_grad_checkpointing()
    return model.train()


def test_gradients_through_every_kind_of_block():
    assert wait(*launch_world(compare_gradients, world=2)) == [0, 0]


def test_adapters_are_refused(ivvit_here, recipe):
    kind = "model.temporal={kind: adaptformer, width: 4}"
    result = ivvit_here("train", "--recipe", recipe, "--dry-run", FSDP, kind)
    assert result.code == 2
    assert "adapters run the parts of blocks" in result.stderr
