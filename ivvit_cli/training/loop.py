"""The training loop: for each dataset in turn, clear the gradients, forward, backward, step."""

import sys
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grads_with_norm_

from ivvit_cli.training.agreement import agree, place_seed
from ivvit_cli.training.average import WeightAverage, averaged
from ivvit_cli.training.distributed import Ranks, gather_all
from ivvit_cli.training.fsdp import gathered, total_norm
from ivvit_cli.training.guard import memory_guarded, not_finite
from ivvit_cli.training.interrupt import StopSignals, interrupted
from ivvit_cli.training.journal import Journal, Stopwatch
from ivvit_cli.training.optim import LearningRate, set_rate
from ivvit_cli.training.progress import RunProgress
from ivvit_cli.training.running import RunningStatistics
from ivvit_cli.training.saving import Saver
from ivvit_cli.training.schedule import JointSchedule, is_due
from ivvit_cli.training.settings import Loading, Periods
from ivvit_cli.training.update import Batches, Update, micro_batches, suspects
from ivvit_cli.training.validation import Validation, ValidationCut
from shards.stream.loader import TrainStream, UpdateLoader


@dataclass
class Trainer:
    """One run, from `progress` to `total` iterations.

    Args:
        update: the joint model and its losses.
        streams: the training samples of each dataset, in the order of the updates.
        schedule: which datasets each update sees.
        progress: where to go on; its tallies and counts change as the run goes.
        seed: of dropout and the like; the samples' randomness is the plan's own.
        clip_norm: the largest norm of a gradient over all parameters; None for no limit.
        accumulate: micro-batches per update.
        average: of the weights, where it is what is validated and saved.
        journal: None in all processes but the leader.
        mark: told the name of every phase of an update that ends: `wait`, `transfer`, `forward`,
            `backward` (those two once per micro-batch) and `optimiser`.
    """

    update: Update
    optimiser: torch.optim.Optimizer
    streams: Mapping[str, TrainStream]
    validation: Validation
    saver: Saver
    schedule: JointSchedule
    total: int
    rate: LearningRate
    periods: Periods
    loading: Loading
    progress: RunProgress
    seed: int
    clip_norm: float | None
    accumulate: int
    average: WeightAverage | None
    device: torch.device
    ranks: Ranks
    journal: Journal | None
    mark: Callable[[str], object] = lambda phase: None

    def __post_init__(self) -> None:
        self._stop = 0  # the signal that all processes agree to stop for
        self._saved = self.progress.iteration
        self._statistics = RunningStatistics(self.update.model)
        self._module: nn.Module = self.update
        if self.ranks.world > 1 and not isinstance(self.update.model, FSDPModule):
            # An update leaves the heads of other datasets without gradient.
            unused = not self.schedule.sees_all or self.update.model.encoder.idle
            self._module = DistributedDataParallel(self.update, find_unused_parameters=unused)

    def train(self) -> None:
        """Run until the end.

        Raises:
            RunInterrupted: a signal came; the state is saved.
            IvvitError: losses were not finite (1), another process was lost (1), a sample cannot
                be read (3), or memory or disk are full (4).
        """
        updates = self.schedule.between(self.progress.iteration, self.total)
        with StopSignals(self._acknowledge) as stop, self._loader(updates) as loader:
            if self._validation_is_due():  # a signal had cut it short
                set_rate(self.optimiser, self._rate)  # which no iteration may come to set
                self._conclude(stop)
            while self.progress.iteration < self.total:
                self._iterate(loader, stop)
                self._conclude(stop)

    def rehearse(self) -> Generator[None]:
        """Train without end, and pause after every iteration; nothing is told or saved.

        Raises:
            IvvitError: as `train`.
        """
        stop = StopSignals(lambda name: None)  # which, not entered, hears none
        updates = self.schedule.between(self.progress.iteration, sys.maxsize)
        with self._loader(updates) as loader:
            while True:
                self._iterate(loader, stop)
                yield

    def _acknowledge(self, name: str) -> None:
        if self.journal:
            self.journal.say(
                f"{name}: finishing the iteration and saving; "
                f"a second one loses what came since iteration {self._saved}"
            )

    def _loader(self, updates: Iterator[dict[str, int]]) -> UpdateLoader:
        return self.loading.open(self.streams, updates, ranks=self.ranks, device=self.device)

    def _iterate(self, loader: UpdateLoader, stop: StopSignals) -> None:
        iteration = self.progress.iteration
        set_rate(self.optimiser, self.rate.at(iteration))
        watch, seconds, waited = Stopwatch(), 0.0, 0.0
        for number in range(len(self.schedule.updates(iteration))):
            batches = next(loader)
            wait = watch.lap()
            self.mark("wait")
            torch.manual_seed(place_seed(self.seed, iteration, number, self.ranks.rank))
            self._step(batches, stop)
            self.mark("optimiser")
            spent = wait + watch.lap()
            for name in batches:
                self.progress.tally(name).time(spent / len(batches), wait / len(batches))
            seconds, waited = seconds + spent, waited + wait
        self.progress.iteration += 1
        if self.journal:
            self.journal.iterated(self.progress, self._rate, seconds=seconds, waited=waited)

    def _step(self, batches: Batches, stop: StopSignals) -> None:
        """Do one update: clear the gradients, forward, backward, clip, step."""
        self.optimiser.zero_grad(set_to_none=True)
        self._statistics.note()
        with memory_guarded(batches, self.accumulate):
            batches = {name: batch.to(self.device) for name, batch in batches.items()}
            self.mark("transfer")
            sums = self._forward_backward(batches)
            norm = total_norm([p.grad for p in self._parameters() if p.grad is not None])
            verdict = agree(self.ranks, sums, norm, stop.received)
            self._stop = verdict.signal or self._stop
            if not self.progress.guard.admit(", ".join(batches), verdict.finite):
                self._skip(batches)
                return
            if self.clip_norm is not None:
                clip_grads_with_norm_(self._parameters(), self.clip_norm, norm)
            self.optimiser.step()
            if self.average:
                self.average.update()
        for batch, loss, hits in zip(batches.values(), verdict.losses, verdict.hits, strict=True):
            self.progress.tally(batch.dataset).add(samples=batch.count, loss=loss, correct=hits)

    def _forward_backward(self, batches: Batches) -> Tensor:
        """Add up the gradients of all micro-batches; return (datasets, 2): loss, correct."""
        sums = {name: torch.zeros(2, device=self.device) for name in batches}
        parts = micro_batches(batches, self.accumulate)
        for part in parts:
            with self._communication(part is parts[-1]):
                outcomes = self._module(part)
                loss = self.update.objective(outcomes)
                self.mark("forward")
                torch.autograd.backward(loss * self.ranks.world)  # the wrapper takes the mean
                self.mark("backward")
            for name, outcome in outcomes.items():
                sums[name] += torch.stack(outcome).detach()
        return torch.stack(list(sums.values()))

    def _communication(self, wanted: bool) -> AbstractContextManager[None]:
        if isinstance(self._module, DistributedDataParallel) and not wanted:
            return self._module.no_sync()
        return nullcontext()

    def _skip(self, batches: Batches) -> None:
        """Leave the weights as they are; give up when that happens too often in a row."""
        self._statistics.take_back()
        names, iteration = ", ".join(batches), self.progress.iteration + 1
        if self.journal:
            self.journal.warn(f"iteration {iteration}, {names}: loss not finite, update skipped")
        if self.progress.guard.tripped(names):
            found = gather_all(self.ranks, suspects(self.update, batches))
            raise not_finite(names, iteration, [key for keys in found for key in keys])

    def _conclude(self, stop: StopSignals) -> None:
        """After an iteration: log, validate, save and stop, as far as each is due."""
        iteration, ended = self.progress.iteration, self.progress.iteration == self.total
        if is_due(iteration, self.periods.log) or ended:
            if self.journal:
                self.journal.logged(self.progress, self._rate)
            self.progress.tallies.clear()
        scores = self._validate(stop) if self._validation_is_due() and not self._stop else {}
        better = [name for name in scores if self.progress.improve(name, scores[name]["top1"])]
        if is_due(iteration, self.periods.save) or ended or better or self._stop:
            self._save(scores, better)
        if self._stop:
            raise interrupted(self.saver.run, self._stop, iteration, self.total)

    def _validation_is_due(self) -> bool:
        iteration = self.progress.iteration
        due = is_due(iteration, self.periods.validate) or iteration == self.total
        return due and self.progress.validated < iteration and bool(self.validation.splits)

    def _validate(self, stop: StopSignals) -> dict[str, dict[str, Any]]:
        """Validate every dataset; a signal may cut it short, and leave nothing."""

        def on_sample(dataset: str, done: int, total: int) -> None:
            if stop.received and self.ranks.world == 1:  # several would wait for one another
                raise ValidationCut
            if self.journal:
                self.journal.validating(self.progress.iteration, dataset, done, total)

        self._statistics.share(self.ranks)
        try:
            with averaged(self.average), gathered(self.update.model):
                scores = self.validation.run(
                    self.update.model, device=self.device, ranks=self.ranks, on_sample=on_sample
                )
        except ValidationCut:
            self._stop = stop.received
            return {}
        self.progress.validated = self.progress.iteration
        if self.journal:
            self.journal.validated(self.progress.iteration, scores)
        return scores

    def _save(self, metrics: Mapping[str, Any], better: list[str]) -> None:
        self.saver.save(
            self.update.model,
            self.optimiser,
            self.progress,
            self.average,
            metrics=metrics,
            better=better,
        )
        self._saved = self.progress.iteration

    @property
    def _rate(self) -> float:
        """The learning rate of the iteration that ended last."""
        return self.rate.at(max(self.progress.iteration - 1, 0))

    def _parameters(self) -> list[nn.Parameter]:
        return list(self.update.parameters())
