"""Losses that are not finite, and memory that is full."""

import pytest
import torch
from workers import launch, wait

from ivvit_cli.errors import EnvironmentFault
from ivvit_cli.training.guard import Guard, memory_guarded, not_finite
from shards.stream.batch import Batch
from shards.stream.colour import NEUTRAL

pytest_plugins = ["training_fixtures"]


def make_batch(kind="video", count=3, frames=4):
    return Batch(
        dataset="films",
        kind=kind,
        frames=torch.zeros(count, frames, 8, 8, 3, dtype=torch.uint8),
        boxes=torch.tensor([[0.0, 0, 8, 8]] * count, dtype=torch.float64),
        cuts=torch.tensor([[0, 0, 8, 8]] * count),
        flips=torch.zeros(count, dtype=torch.bool),
        colours=torch.tensor([NEUTRAL] * count),
        labels=torch.zeros(count, dtype=torch.int64),
        weights=torch.ones(count),
        count=count,
        keys=tuple(f"k{i}" for i in range(count)),
    )


def test_only_bad_updates_in_a_row_trip():
    guard = Guard()
    for finite in (False, False, True, False, False):
        assert guard.admit("films", finite) == finite
        assert not guard.tripped("films")
    guard.admit("films", False)
    assert guard.tripped("films")
    assert guard.skipped == 5


def test_a_healthy_dataset_does_not_hide_a_broken_one():
    guard = Guard()
    for _ in range(3):
        guard.admit("pictures", True)
        guard.admit("films", False)
    assert guard.tripped("films")
    assert not guard.tripped("pictures")


def test_message_names_the_samples():
    error = not_finite("films", 7, [f"key{i}" for i in range(10)])
    assert error.exit_code == 1
    assert "on films had a loss" in error.message
    assert "iteration 7, samples key0, key1" in error.message
    assert error.message.endswith("key7 and 2 more")


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    ],
)
def test_full_memory_is_one_line(error):
    with pytest.raises(EnvironmentFault) as caught, memory_guarded({"films": make_batch()}, 2):
        raise error
    assert caught.value.exit_code == 4
    assert "films: 3 clips of 4 frames" in caught.value.message
    assert "train.accumulate=4" in caught.value.hint
    assert "data.films.batch" in caught.value.hint


def test_real_allocation_failure_is_recognised():
    with pytest.raises(EnvironmentFault), memory_guarded({"films": make_batch("image")}, 1):
        torch.empty(1 << 60)


def test_other_errors_pass():
    with pytest.raises(RuntimeError, match="mat1"), memory_guarded({"films": make_batch()}, 1):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")


def spoil(recipe, run, bad):
    """Train with losses that are infinite in some updates; save the weights around each."""
    from workers import train

    from ivvit_cli.training import loop, update

    count = iter(range(1000))
    outcome = update.Update._share

    def spoilt(self, dataset, batch):
        result = outcome(self, dataset, batch)
        if not torch.is_grad_enabled():  # the search for the samples
            return result._replace(loss=result.loss / (batch.keys[0] != "train_ant_03"))
        return result._replace(loss=result.loss / (next(count) not in bad))

    step = loop.Trainer._step
    weights = []

    def watched(self, batches, stop):
        before = [p.detach().clone() for p in self.update.parameters()]
        state = len(self.optimiser.state)
        step(self, batches, stop)
        same = all(map(torch.equal, before, self.update.parameters()))
        weights.append((same, len(self.optimiser.state) == state, self.progress.guard.skipped))

    update.Update._share = spoilt
    loop.Trainer._step = watched
    try:
        train(recipe, run)
    finally:
        torch.save(weights, run.with_suffix(".pt"))


def test_a_bad_update_is_skipped_and_counted(recipe, tmp_path):
    run = tmp_path / "run"
    assert wait(launch(spoil, recipe, run, {4, 5, 9})) == [0]
    updates = torch.load(run.with_suffix(".pt"))
    assert [number for number, (same, *_) in enumerate(updates) if same] == [4, 5, 9]
    assert updates[-1][-1] == 3
    assert run.with_suffix(".err").read_text().count("loss not finite, update skipped") == 3


def test_three_in_a_row_of_one_dataset_end_the_run(recipe, tmp_path):
    run = tmp_path / "run"
    assert wait(launch(spoil, recipe, run, {3, 5, 7})) == [1]  # every second update is on films
    error = run.with_suffix(".err").read_text().splitlines()[-1]
    assert "3 updates in a row on films had a loss that is not finite" in error
    assert "the last was iteration 4, samples train_" in error
    assert run.joinpath("checkpoints", "last").resolve().name == "step-00000002"
