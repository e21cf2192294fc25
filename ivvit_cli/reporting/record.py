"""A run folder, read: its recipe, its curves, its evaluations, what it ran on."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from ivvit_cli.config import load_recipe
from ivvit_cli.errors import InputError
from ivvit_cli.evaluation.metrics import Scores
from ivvit_cli.evaluation.results import METRICS_FILE as FIGURES_FILE
from ivvit_cli.evaluation.results import SCORES_FILE
from ivvit_cli.runs import find_checkpoint, list_checkpoints, read_meta
from ivvit_cli.training.folder import ENVIRONMENT_FILE, METRICS_FILE, require_run


@dataclass(frozen=True)
class EvaluationRecord:
    """What `ivvit eval` left: figures in percent, and the scores of every sample."""

    folder: Path
    figures: Mapping[str, Any]

    @property
    def dataset(self) -> str:
        """The dataset's name."""
        return str(self.figures["protocol"]["dataset"])

    @cached_property
    def scores(self) -> Scores:
        """Every sample's scores.

        Raises:
            InputError: the file is damaged.
        """
        path = self.folder / SCORES_FILE
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                return Scores(arrays["scores"], arrays["labels"], arrays["keys"].tolist())
        except (OSError, ValueError, KeyError, BadZipFile) as error:
            raise InputError(f"{path}: cannot be read: {error}", hint="ivvit eval again") from None

    @property
    def right(self) -> dict[str, bool]:
        """Which samples have their label first, by key."""
        hits = self.scores.hits.tolist()
        return dict(zip(self.scores.keys, hits, strict=True))


@dataclass(frozen=True)
class RunRecord:
    """A run.

    Attributes:
        recipe: as it was resolved.
        events: the lines of metrics.jsonl.
        evaluations: by the name of their folder, DATASET-SPLIT-VIEWS.
        starts: what each start of it ran on.
    """

    folder: Path
    recipe: Mapping[str, Any]
    events: tuple[Mapping[str, Any], ...]
    evaluations: Mapping[str, EvaluationRecord]
    starts: tuple[Mapping[str, Any], ...]

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.resolve().name

    def of(self, event: str, dataset: str | None = None) -> Iterator[Mapping[str, Any]]:
        """Yield the events of a kind, of one dataset or all."""
        for each in self.events:
            if each["event"] == event and dataset in (None, each["dataset"]):
                yield each

    def outdated(self) -> Iterator[str]:
        """Yield a line for each evaluation of another checkpoint than the last one."""
        for last in list_checkpoints(self.folder)[-1:]:
            for name, each in self.evaluations.items():
                if (own := each.figures["protocol"].get("checkpoint")) != last.name:
                    yield f"{self.folder}: {name} is of {own}, but the last is {last.name}"

    @property
    def cost(self) -> dict[str, float | None]:
        """Return clips per second and the share of waiting, over the log's time; memory in MB."""
        rows = [row for row in self.of("train") if row["clips_per_second"] > 0]
        if not rows:
            return {"clips_per_second": None, "data_wait": None, "memory_mb": None}
        samples = np.array([row.get("samples", 1) for row in rows])  # 1 where a log has no counts
        seconds = samples / [row["clips_per_second"] for row in rows]
        waited = seconds @ [row["data_wait"] for row in rows]
        return {
            "clips_per_second": float(samples.sum() / seconds.sum()),
            "data_wait": float(waited / seconds.sum()),
            "memory_mb": float(max(row["memory_mb"] for row in rows)),
        }


def read_run(folder: Path) -> RunRecord:
    """Read a run's folder.

    Raises:
        InputError: it is no run, or a file in it is damaged.
    """
    return RunRecord(
        folder=folder,
        recipe=load_recipe(str(require_run(folder))).model_dump(mode="json"),
        events=tuple(_events(folder / METRICS_FILE)),
        evaluations={each.folder.name: each for each in _evaluations(folder / "eval")},
        starts=tuple(_read_json(folder / ENVIRONMENT_FILE).get("starts", [])),
    )


def class_names(run: RunRecord, dataset: str) -> tuple[str, ...]:
    """Return the classes of a dataset in label order, as the run's last checkpoint has them.

    Raises:
        InputError: the run has no checkpoint, or a damaged one.
    """
    return read_meta(find_checkpoint(run.folder)).heads[dataset].classes


def _events(path: Path) -> Iterator[dict[str, Any]]:
    if not path.exists():
        return
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        try:
            yield json.loads(line)
        except ValueError:
            raise InputError(f"{path}:{number}: is not JSON") from None


def _evaluations(folder: Path) -> Iterator[EvaluationRecord]:
    for path in sorted(folder.glob(f"*/{FIGURES_FILE}")):
        figures = _read_json(path)
        if "protocol" not in figures:
            raise InputError(f"{path}: is no evaluation", hint="ivvit eval again")
        yield EvaluationRecord(path.parent, figures)


def _read_json(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        document = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from None
    if not isinstance(document, dict):
        raise InputError(f"{path}: holds no mapping")
    return document


Confusion = NDArray[np.int64]


def confusion_matrix(scores: Scores) -> Confusion:
    """Return how often a class (row) got a label (column), (C, C)."""
    classes = scores.scores.shape[1]
    matrix = np.zeros((classes, classes), np.int64)
    np.add.at(matrix, (scores.labels, scores.scores.argmax(1)), 1)
    return matrix
