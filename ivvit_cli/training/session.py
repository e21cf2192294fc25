"""One invocation of `ivvit train`: the processes, the run folder, the loop between them."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

from ivvit_cli import console
from ivvit_cli.errors import InputError, UsageError
from ivvit_cli.evaluation.frames import warn_of_small_frames
from ivvit_cli.models import load_weights
from ivvit_cli.models.weights import is_remote, load_parts
from ivvit_cli.models.weights.frozen import Frozen, find_frozen
from ivvit_cli.runs import find_checkpoint, read_meta
from ivvit_cli.training.assemble import make_trainer
from ivvit_cli.training.checkpoint import newest_intact
from ivvit_cli.training.data import MissingShards, warn_of_small_cache
from ivvit_cli.training.display import Screen
from ivvit_cli.training.distributed import (
    Ranks,
    from_leader,
    joined,
    own_device,
    ranks_of_environment,
)
from ivvit_cli.training.folder import RECIPE_FILE, create_run, record_start
from ivvit_cli.training.job import Job
from ivvit_cli.training.journal import Journal
from ivvit_cli.training.machine import Machine
from ivvit_cli.training.outline import plan_run, plan_without_shards
from ivvit_cli.training.prepared import Prepared, prepare
from ivvit_cli.training.progress import RunProgress
from ivvit_cli.training.resume import Saved, keep_arithmetic, read_saved, rewind_run
from shards.files import write_atomically


@dataclass
class Session:
    """What a command line asks for.

    Args:
        run: the run's folder.
        recipe: the resolved recipe, as YAML for the run's folder.
        device: `auto` or a torch device.
        resume: continue the run instead of starting it.
        changes: what a resumed run does differently, for the user and for environment.json.
    """

    job: Job
    run: Path
    recipe: str
    device: str
    resume: bool = False
    changes: Sequence[str] = ()
    ranks: Ranks = field(default_factory=ranks_of_environment)

    def prepare(self) -> Prepared:
        """Open the shards and build the model, and warn of frames that are too small."""
        prepared = prepare(self.job)
        if self.ranks.leads:
            if warning := warn_of_small_cache(prepared.sources, self.job.loader["cache"]):
                console.warn(warning)
            for name, source in prepared.sources.items():
                if warning := warn_of_small_frames(
                    name,
                    source.train,
                    size=prepared.input.size,
                    min_short_side=source.spec.min_short_side,
                ):
                    console.warn(warning)
        return prepared

    def plan(self, machine: Machine) -> tuple[dict[str, Any], MissingShards | None]:
        """Return what `--dry-run` shows; weights that lie on this machine are tried on.

        Where shards are missing, the fault comes with what can be told without them.

        Raises:
            InputError, EnvironmentFault: as `load_weights`.
        """
        try:
            prepared = self.prepare()
        except MissingShards as fault:
            return plan_without_shards(self.job, machine), fault
        source = prepared.job.model["weights"]
        sources = (source, *prepared.job.parts.values())
        remote = [each for each in sources if each and is_remote(each)]
        if self.resume:
            state = "those of the run's last checkpoint, if any"
        elif remote:
            state = f"{', '.join(remote)}: fetched when training starts"
        else:
            state = next(iter(_load_weights(prepared)[0]), "random")
        weights = {"weights": {"source": source, "state": state}}
        return plan_run(prepared, machine) | weights, None

    def train(self) -> dict[str, Any]:
        """Run to the end, and return what `--json` prints.

        Raises:
            RunInterrupted, IvvitError: as `Trainer.train`.
        """
        device = own_device(self.ranks, self.device)
        with joined(self.ranks, device):
            self.run = from_leader(self.ranks, self.run)  # its name may hold the leader's time
            prepared = self.prepare()
            saved = self._read_saved(prepared) if self.resume else None
            lines, frozen = ([], saved.frozen) if saved else _load_weights(prepared)
            screen = Screen(prepared.times.total) if self.ranks.leads else None
            journal = Journal(self.run, screen, list(prepared.sources)) if screen else None
            trainer = make_trainer(
                prepared,
                self.run,
                device=device,
                ranks=self.ranks,
                saved=saved,
                frozen=frozen,
                journal=journal,
            )
            if journal:  # only now is every value known to be good
                self._open_folder(trainer.progress)
            with screen or nullcontext():
                for line in (*lines, *self._opening(prepared, trainer.progress)):
                    if journal:
                        journal.say(line)
                trainer.train()
        return self._result() if self.ranks.leads else {}

    def _read_saved(self, prepared: Prepared) -> Saved | None:
        newest = newest_intact(self.run, console.warn) if self.ranks.leads else None
        newest = from_leader(self.ranks, newest)
        if newest is None:  # it stopped before its first checkpoint: from the start, then
            return None
        saved = read_saved(newest, self.job.model["weights"])
        if saved.progress.iteration > prepared.times.total:
            raise UsageError(
                f"{self.run} has done {saved.progress.iteration} iterations, "
                f"more than the {prepared.times.total} of its recipe now"
            )
        for name, fingerprint in prepared.fingerprints().items():
            if saved.data.get(name) != fingerprint:
                raise InputError(
                    f"data.{name}: these are not the shards that the run began with",
                    hint=f"their place can be given: data.{name}.shards=DIR",
                )
        keep_arithmetic(saved, self.ranks, console.warn if self.ranks.leads else lambda text: None)
        return saved

    def _open_folder(self, progress: RunProgress) -> None:
        if self.resume:
            rewind_run(self.run, progress)
            write_atomically(self.run / RECIPE_FILE, self.recipe.encode())
        else:
            create_run(self.run, self.recipe)
        record_start(self.run, progress.iteration, self.changes)

    def _opening(self, prepared: Prepared, progress: RunProgress) -> list[str]:
        parameters = [*prepared.model.parameters()]
        total_size = sum(p.numel() for p in parameters)
        trained = sum(p.numel() for p in parameters if p.requires_grad)
        frozen = "" if trained == total_size else f", {trained:,} of them trained"
        sources, total = prepared.sources, prepared.times.total
        lines = [
            f"{self.run}: {total_size:,} parameters{frozen}, {len(sources)} dataset"
            f"{'s' if len(sources) > 1 else ''}, {total} iteration{'s' if total > 1 else ''}"
        ]
        lines += [f"{n}: no validation split" for n, each in sources.items() if not each.validation]
        if self.resume and progress.iteration == total:
            lines.append(f"iteration {total} was the last; {self._more()}")
        elif self.resume:
            lines.append(f"going on after iteration {progress.iteration}")
        return lines + [f"changed: {change}" for change in self.changes]

    def _more(self) -> str:
        schedule = self.job.schedule
        if schedule["kind"] == "task_by_task":  # its length cannot change (`refuse_breaking`)
            return "the datasets have shared them: more are a new run"
        return f"for more, raise schedule.{'iterations' if schedule['iterations'] else 'epochs'}"

    def _result(self) -> dict[str, Any]:
        checkpoint = find_checkpoint(self.run)
        meta = read_meta(checkpoint)
        return {
            "run": str(self.run),
            "checkpoint": str(checkpoint),
            "iteration": meta.iteration,
            "metrics": {name: score.model_dump() for name, score in meta.metrics.items()},
        }


def _load_weights(prepared: Prepared) -> tuple[list[str], Frozen | None]:
    model, job = prepared.model, prepared.job
    source, lines, frozen = job.model["weights"], list[str](), None
    if source:
        classes = {name: each.dataset.classes for name, each in prepared.sources.items()}
        report = load_weights(model, source, job.model["head"], classes)
        lines = report.lines()
        others = [
            name for name in report.loaded if not any(map(partial(fnmatchcase, name), job.parts))
        ]
        frozen = find_frozen(model, source, others)
    return lines + load_parts(model, job.parts), frozen
