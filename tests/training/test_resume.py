"""A run that is killed or stopped, anywhere, ends as if nothing had happened: bit for bit."""

import signal
import sys
from functools import partial
from itertools import count

import pytest
import torch
from workers import launch, outcome, train, wait

from ivvit_cli import runs
from ivvit_cli.training.progress import Best, RunProgress
from ivvit_cli.training.resume import rewind_run

pytest_plugins = ["training_fixtures"]


@pytest.fixture(scope="module")
def undisturbed(recipe, tmp_path_factory):
    """Return the outcome of a run that nothing interrupted."""
    run = tmp_path_factory.mktemp("undisturbed") / "run"
    assert wait(launch(train, recipe, run)) == [0]
    return outcome(run)


def run_with(recipe, run, **fault):
    return wait(launch(run_faulty, recipe, run, fault))[0]


def run_faulty(recipe, run, fault):
    train(recipe, run, **fault)


# The first save has 15 operations on files; later ones also delete the oldest checkpoint.
@pytest.mark.parametrize("operation", [3, 7, 9, 14, 15, 17, 22, 25, 36, 47, 58])
def test_kill_in_a_save(recipe, undisturbed, tmp_path, operation):
    run = tmp_path / "run"
    assert run_with(recipe, run, kill_at=operation) == -signal.SIGKILL
    assert bool(runs.list_checkpoints(run)) == (operation >= 15)
    assert run_with(recipe, run) == 0
    assert outcome(run) == undisturbed


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=["term", "int"]
)
def test_signal_finishes_the_iteration(recipe, undisturbed, tmp_path, number, code):
    run = tmp_path / "run"
    assert run_with(recipe, run, signal_at=(number, 3)) == code
    assert 3 <= runs.read_meta(runs.find_checkpoint(run)).iteration < 8
    assert run_with(recipe, run) == 0
    got = outcome(run)
    assert got.pop("checkpoints")
    assert got == {k: v for k, v in undisturbed.items() if k in got}


@pytest.mark.parametrize("call", [1, 3], ids=["first", "last"])  # two per validation
def test_signal_in_a_validation_cuts_it_short(recipe, undisturbed, tmp_path, call):
    run = tmp_path / "run"
    assert run_with(recipe, run, sabotage=partial(terminate_in_validation, call)) == 143
    assert runs.read_meta(runs.find_checkpoint(run)).metrics == {}
    assert run_with(recipe, run) == 0
    assert outcome(run) == undisturbed


def terminate_in_validation(call):
    from ivvit_cli.training import validation

    evaluate, calls = validation.evaluate, count(1)

    def interrupted(*args, **keywords):
        if next(calls) == call:
            signal.raise_signal(signal.SIGTERM)
        return evaluate(*args, **keywords)

    validation.evaluate = interrupted


def forget_moments():
    from ivvit_cli.training import assemble

    restore = assemble.restore

    def forgetful(saved, optimiser):
        fresh = optimiser.state_dict()
        restore(saved, optimiser)
        optimiser.load_state_dict(fresh)

    assemble.restore = forgetful


def forget_plan_step():
    from ivvit_cli.training.schedule import JointSchedule

    JointSchedule.between = lambda self, start, stop: (
        {name: step} for step in range(stop) for name in self.datasets
    )


def forget_randomness():
    from ivvit_cli.training import loop

    loop.place_seed = lambda *place: torch.seed()


def forget_learning_rate():
    from ivvit_cli.training import optim

    at = optim.LearningRate.at
    optim.LearningRate.at = lambda self, iteration: at(self, iteration - 4)


def forget_tallies():
    from ivvit_cli.training import progress

    restored = progress.RunProgress.restored
    progress.RunProgress.restored = lambda state: restored(state | {"tallies": {}})


def forget_best():
    from ivvit_cli.training import progress

    restored = progress.RunProgress.restored
    progress.RunProgress.restored = lambda state: restored(state | {"best": {}})


SABOTAGES = [
    (forget_moments, "moments"),
    (forget_plan_step, "weights"),
    (forget_randomness, "weights"),
    (forget_learning_rate, "weights"),
    (forget_tallies, "metrics"),
    (forget_best, "progress"),
]


@pytest.mark.parametrize(
    ("sabotage", "seen_in"), SABOTAGES, ids=lambda v: getattr(v, "__name__", v)
)
def test_comparison_notices_what_is_forgotten(recipe, undisturbed, tmp_path, sabotage, seen_in):
    run = tmp_path / "run"
    assert run_with(recipe, run, signal_at=(signal.SIGTERM, 4)) == 143
    assert run_with(recipe, run, sabotage=sabotage) == 0
    assert outcome(run)[seen_in] != undisturbed[seen_in]


def test_damage_falls_back_to_the_checkpoint_before(recipe, undisturbed, tmp_path):
    run = tmp_path / "run"
    assert run_with(recipe, run, signal_at=(signal.SIGTERM, 6)) == 143
    damaged = runs.list_checkpoints(run)[-1]
    data = bytearray(damaged.joinpath(runs.WEIGHTS_FILE).read_bytes())
    data[len(data) // 2] ^= 1
    damaged.joinpath(runs.WEIGHTS_FILE).write_bytes(data)
    assert run_with(recipe, run) == 0
    assert run.with_suffix(".err").read_text().count("warning: ") == 1
    assert outcome(run)["weights"] == undisturbed["weights"]
    assert outcome(run)["metrics"] == undisturbed["metrics"]


def test_a_best_score_without_its_checkpoint_is_forgotten(tmp_path):
    run = tmp_path / "run"
    kept = run / "checkpoints" / runs.step_name(4)
    kept.mkdir(parents=True)
    progress = RunProgress(6, best={"a": Best(50.0, 4), "b": Best(60.0, 2)})
    rewind_run(run, progress)
    assert progress.best == {"a": Best(50.0, 4)}
    assert kept.with_name("best-a").resolve() == kept


def test_threads_are_kept(recipe, tmp_path):
    run = tmp_path / "run"
    assert run_with(recipe, run, signal_at=(signal.SIGTERM, 3)) == 143
    path = runs.find_checkpoint(run) / runs.STATE_FILE
    assert torch.load(path, weights_only=True)["threads"] == 1
    if sys.platform == "linux":
        assert run_with(recipe, run, sabotage=use_two_threads) == 0
    path = runs.find_checkpoint(run) / runs.STATE_FILE
    assert torch.load(path, weights_only=True)["threads"] == 1


def use_two_threads():
    torch.set_num_threads(2)
