"""N processes train as one: the same samples, the same gradients, and they end together."""

import os
import signal
import time
from itertools import pairwise

import pytest
import torch
from torch import distributed
from workers import launch, launch_world, outcome, train, wait

from ivvit_cli import runs
from ivvit_cli.errors import InputError
from ivvit_cli.training.distributed import joined, ranks_of_environment, sum_over

pytest_plugins = ["training_fixtures"]

SGD = (
    "optim.name=sgd",
    "optim.lr=1e-30",  # every update starts from the same weights
    "schedule.iterations=2",
    "checkpoint.every=1",
    "model.backbone_args.drop_path_rate=0",  # every process drops other paths
)


def record(recipe, run, overrides):
    """Train in float64, and save what every update saw and what its gradient was."""
    from ivvit_cli.training import loop

    updates = []
    build = loop.Trainer.__post_init__

    def build_and_watch(trainer):
        trainer.update.model.double()
        trainer.update.model.register_forward_pre_hook(lambda _, args: (args[0].double(), args[1]))
        build(trainer)
        names = [name for name, _ in trainer.update.named_parameters()]
        trainer.update.register_forward_pre_hook(note_keys)
        trainer.optimiser.register_step_pre_hook(lambda *_: note_gradients(trainer, names))

    def note_keys(module, args):
        keys = {name: batch.keys for name, batch in args[0].items()}
        shapes = {name: tuple(batch.frames.shape[:2]) for name, batch in args[0].items()}
        updates.append({"keys": keys, "shapes": shapes})

    def note_gradients(trainer, names):
        gradients = [p.grad if p.grad is None else p.grad.clone() for p in trainer._parameters()]
        updates[-1]["gradients"] = dict(zip(names, gradients, strict=True))
        updates[-1]["weights"] = {k: v.clone() for k, v in trainer.update.state_dict().items()}

    loop.Trainer.__post_init__ = build_and_watch
    rank = os.environ.get("RANK", "0")
    try:
        train(recipe, run, *overrides)
    finally:
        torch.save(updates, run.with_name(f"updates-{rank}.pt"))


def recorded(recipe, folder, world, *overrides):
    """Return every rank's updates of a training by `world` processes."""
    folder.mkdir()
    processes = launch_world(record, recipe, folder / "run", overrides, world=world)
    assert wait(*processes) == [0] * world
    return [torch.load(folder / f"updates-{rank}.pt") for rank in range(world)]


@pytest.fixture(scope="module")
def alone(recipe, tmp_path_factory):
    return recorded(recipe, tmp_path_factory.mktemp("alone") / "1", 1, *SGD)[0]


def assert_equal_gradients(one, other, tolerance=1e-6):
    """Compare over all parameters; a gradient that is None has to be None in both."""
    idle = {name for name, gradient in one.items() if gradient is None}
    assert idle == {name for name, gradient in other.items() if gradient is None}
    first, second = (
        torch.cat([each[name].flatten() for name in one if name not in idle]).double()
        for each in (one, other)
    )
    assert (first - second).norm() <= tolerance * first.norm()


@pytest.mark.parametrize("world", [2, 3])
def test_gradients_and_samples_of_one(recipe, alone, tmp_path, world):
    ranks = recorded(recipe, tmp_path / "many", world, *SGD)
    for number, single in enumerate(alone):
        shares = [rank[number] for rank in ranks]
        assert len({str(share["shapes"]) for share in shares}) == 1
        for name, keys in single["keys"].items():
            joined = [key for share in shares for key in share["keys"][name] if key]
            assert joined == list(keys)
        for share in shares:
            assert_equal_gradients(single["gradients"], share["gradients"])
            assert_equal_gradients(shares[0]["gradients"], share["gradients"], tolerance=0)


def test_rank_without_a_sample_adds_zeros(recipe, tmp_path):
    few = (*SGD, "data.films.batch=1")
    single = recorded(recipe, tmp_path / "one", 1, *few)[0]
    ranks = recorded(recipe, tmp_path / "two", 2, *few)
    films = [number for number, update in enumerate(single) if "films" in update["keys"]]
    assert films
    assert all(set(ranks[0][number]["keys"]["films"]) == {""} for number in films)
    for number, update in enumerate(single):
        assert_equal_gradients(update["gradients"], ranks[1][number]["gradients"])


@pytest.mark.parametrize("world", [1, 2])
def test_heads_out_of_an_update_stay_as_they_are(recipe, tmp_path, world):
    adam = ("schedule.iterations=3", "optim.weight_decay=0.5", "optim.lr=0.01")
    for updates in recorded(recipe, tmp_path / "run", world, *adam):
        for before, after in pairwise(updates):
            (seen,) = before["keys"]  # `before` holds the weights that this update starts from
            for name, gradient in before["gradients"].items():
                idle = "heads." in name and f"heads.{seen}." not in name
                assert (gradient is None) == idle, name
                same = torch.equal(before["weights"][name], after["weights"][name])
                assert same == idle, name


def test_accumulation_is_the_full_batch(recipe, alone, tmp_path):
    parts = recorded(recipe, tmp_path / "parts", 1, *SGD, "train.accumulate=3")[0]
    whole = [update for update in parts if "gradients" in update]
    assert len(parts) == 3 * len(alone)
    for single, last in zip(alone, whole, strict=True):
        assert_equal_gradients(single["gradients"], last["gradients"])


def test_accumulation_in_two_processes(recipe, alone, tmp_path):
    for rank in recorded(recipe, tmp_path / "parts", 2, *SGD, "train.accumulate=2"):
        whole = [update for update in rank if "gradients" in update]
        for single, last in zip(alone, whole, strict=True):
            assert_equal_gradients(single["gradients"], last["gradients"])


def test_two_processes_resume_bitwise(recipe, tmp_path):
    undisturbed, stopped = tmp_path / "undisturbed", tmp_path / "stopped"
    assert wait(*launch_world(train, recipe, undisturbed, world=2)) == [0, 0]
    assert wait(*launch_world(train_until, recipe, stopped, 0, 3, world=2)) == [143, 143]
    assert wait(*launch_world(train, recipe, stopped, world=2)) == [0, 0]
    assert outcome(stopped)["weights"] == outcome(undisturbed)["weights"]
    assert outcome(stopped)["moments"] == outcome(undisturbed)["moments"]


def train_until(recipe, run, victim, iteration):
    """Train, one rank being told to stop once it has done an iteration."""
    from ivvit_cli.training import loop

    iterate = loop.Trainer._iterate

    def iterate_and_stop(trainer, loader, stop):
        iterate(trainer, loader, stop)
        if trainer.ranks.rank == victim and trainer.progress.iteration == iteration:
            signal.raise_signal(signal.SIGTERM)

    loop.Trainer._iterate = iterate_and_stop
    train(recipe, run)


def test_a_signal_to_one_stops_all_after_the_same_iteration(recipe, tmp_path):
    assert wait(*launch_world(train_until, recipe, tmp_path / "run", 1, 2, world=2)) == [143, 143]
    assert runs.read_meta(runs.find_checkpoint(tmp_path / "run")).iteration == 3


def test_a_lost_process_ends_the_others(recipe, tmp_path):
    run = tmp_path / "run"
    processes = launch_world(train_for_long, recipe, run, world=2)
    while not runs.list_checkpoints(run):
        time.sleep(0.05)
        assert all(process.is_alive() for process in processes)
    processes[1].kill()
    start = time.monotonic()
    assert wait(*processes) == [1, -signal.SIGKILL]
    assert time.monotonic() - start < 30
    last = run.with_suffix(".err").read_text().splitlines()[-1]
    assert last == "process 0 of 2 stops: another one ended or hangs"
    assert runs.read_meta(runs.find_checkpoint(run))


def test_a_process_that_fails_ends_without_the_others(tmp_path):
    """As nccl's end waits for them; exit handlers, not run here, end what is left of it."""
    assert wait(*launch_world(fail_alone, world=2), seconds=30) == [1, 3]


def fail_alone():
    def wait_for_ever():
        raise AssertionError("the others are not asked")

    distributed.destroy_process_group = wait_for_ever
    ranks = ranks_of_environment()
    with joined(ranks, torch.device("cpu")):
        if ranks.rank:
            raise InputError("a sample cannot be read")
        sum_over(ranks, torch.zeros(1))


def train_for_long(recipe, run):
    train(recipe, run, "schedule.iterations=100000", "eval.every=null")


def test_other_world_goes_on_with_the_same_samples(recipe, tmp_path):
    run = tmp_path / "run"
    assert wait(launch(train_until, recipe, run, 0, 3)) == [143]
    assert wait(*launch_world(train, recipe, run, world=2)) == [0, 0]
    assert "the run had 1 processes and now has 2" in run.with_suffix(".err").read_text()


def test_what_images_alone_would_use_may_be_idle(recipe, tmp_path):
    run = tmp_path / "run"
    clips = ("data.pictures=null", "model.temporal={kind: tubelet, frames: 4}")
    assert wait(*launch_world(train, recipe, run, *clips, world=2)) == [0, 0]
    assert "Grad strides" not in run.with_suffix(".err").read_text()
