"""What a run will take: memory of each GPU, time, and the accumulation with which it fits."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from math import ceil
from typing import Any

from ivvit_cli.models import JointModel
from ivvit_cli.models.adapters.encoder import AdaptedEncoder
from ivvit_cli.models.cost import (
    Activations,
    Layout,
    StepMemory,
    keep_activations,
    peak_activations,
    step_memory,
    training_flops,
)
from ivvit_cli.training.job import Job
from ivvit_cli.training.machine import Machine

_USABLE = 0.9  # of a GPU's memory; the rest is CUDA's own, workspaces and what lies in pieces
_TOGETHER = ("weighted", "accumulated")  # schedules whose updates see several datasets

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Load:
    """A dataset's part of a run.

    Args:
        shape: of a sample, (3, H, W) or (T, 3, H, W).
        batch: the most samples of an update, over all processes.
        samples: of the whole run; None where its length is unknown.
    """

    shape: Shape
    batch: int
    samples: float | None


def sample_shape(clip: Mapping[str, Any] | None, size: int) -> Shape:
    """Return the shape of what a model is fed: an image, or a clip as a recipe's `clip` has it."""
    return (3, size, size) if clip is None else (clip["frames"], 3, size, size)


class Forecast:
    """Estimates of a run's costs, from the shapes of its model's tensors alone.

    Args:
        model: with its blocks as they are, also on the `meta` device.
        loads: of each dataset.
    """

    def __init__(
        self, job: Job, model: JointModel, loads: Mapping[str, Load], machine: Machine
    ) -> None:
        self._job, self._model, self._loads, self._machine = job, model, loads, machine
        self._first = {load.shape: name for name, load in loads.items()}
        self._kept: Mapping[Shape, Activations] = {
            shape: keep_activations(model, shape, name, bf16=machine.precision == "bf16")
            for shape, name in self._first.items()
        }

    def document(self) -> dict[str, Any]:
        """Return the forecast as plain values: `memory` and `time`."""
        own = self._layout()
        return {
            "memory": {
                "gpus": self._machine.gpus,
                "bytes": self._machine.memory,
                "accumulate": own.accumulate,
                "effective_batch": self._batches(own),
                "layouts": [
                    {
                        "parallel": parallel,
                        "activation_checkpointing": light,
                        "bytes": self._document(self._layout(parallel, light)),
                        "fits": self._fitting(parallel, light),
                    }
                    for parallel, light in product(self._parallels(), (False, True))
                ],
                "advice": self._advice(),
            },
            "time": self._time(),
        }

    def _layout(
        self, parallel: Any = None, light: bool | None = None, accumulate: int | None = None
    ) -> Layout:
        train = self._job.train
        return Layout(
            parallel or train["parallel"],
            self._machine.gpus,
            train["activation_checkpointing"] if light is None else light,
            accumulate or train["accumulate"],
        )

    def _parallels(self) -> list[str]:
        if self._machine.gpus == 1:
            return [self._job.train["parallel"]]
        whole = isinstance(self._model.encoder, AdaptedEncoder)
        return ["ddp"] if whole else ["ddp", "fsdp"]

    def _batches(self, layout: Layout) -> dict[str, dict[str, int]]:
        """Return, by dataset or of all, the samples of an update and those in a GPU at once."""
        counts = {name: load.batch for name, load in self._loads.items()}
        if self._job.schedule["kind"] == "weighted":
            counts = {"all": self._job.schedule["batch"]}
        return {
            name: {"update": count, "micro_batch": layout.samples(count)}
            for name, count in counts.items()
        }

    def _updates(self) -> Sequence[Mapping[str, Load]]:
        if self._job.schedule["kind"] in _TOGETHER:
            return [self._loads]
        return [{name: load} for name, load in self._loads.items()]

    def _memory(self, layout: Layout) -> StepMemory:
        peaks = [
            peak_activations(
                {name: self._kept[load.shape] for name, load in update.items()},
                {name: load.batch for name, load in update.items()},
                layout,
            )
            for update in self._updates()
        ]
        return step_memory(
            self._model,
            layout,
            optimiser=self._job.optim["name"],
            averaged=self._job.train["ema"] is not None,
            activations=max(peaks),
        )

    def _document(self, layout: Layout) -> dict[str, int]:
        memory = self._memory(layout)
        return {**asdict(memory), "total": memory.total}

    def _fitting(self, parallel: Any, light: bool) -> dict[str, Any] | None:
        """Return the fewest micro-batches with which an update fits into a GPU's memory."""
        if self._machine.memory is None:
            return None
        most = max(ceil(load.batch / self._machine.gpus) for load in self._loads.values())
        for accumulate in range(1, most + 1):
            layout = self._layout(parallel, light, accumulate)
            total = self._memory(layout).total
            if total <= _USABLE * self._machine.memory:
                sizes = {name: layout.samples(load.batch) for name, load in self._loads.items()}
                return {"accumulate": accumulate, "micro_batch": sizes, "total": total}
        return None

    def _advice(self) -> list[str] | None:
        """Return the settings that fit, as near to the recipe's own as they can be."""
        if self._machine.memory is None:
            return None
        train = self._job.train
        own = (train["parallel"], train["activation_checkpointing"])
        for parallel, light in [own, *product(self._parallels(), (False, True))]:
            if found := self._fitting(parallel, light):
                wanted = {
                    "parallel": parallel,
                    "activation_checkpointing": light,
                    "accumulate": max(found["accumulate"], train["accumulate"]),
                }
                return [
                    f"train.{key}={str(value).lower()}"
                    for key, value in wanted.items()
                    if train[key] != value
                ]
        return None

    def _time(self) -> dict[str, Any]:
        light = self._job.train["activation_checkpointing"]
        flops = {
            shape: training_flops(self._model, shape, name, checkpointing=light)
            for shape, name in self._first.items()
        }
        counts = [load.samples for load in self._loads.values()]
        total = None
        if None not in counts:
            total = sum((load.samples or 0) * flops[load.shape] for load in self._loads.values())
        speed = self._machine.gpus * self._machine.tflops * 1e12
        return {
            "flops_per_sample": {name: flops[load.shape] for name, load in self._loads.items()},
            "flops": total,
            "precision": self._machine.precision,
            "tflops_per_gpu": self._machine.tflops,
            "tflops_source": self._machine.source,
            "seconds": None if total is None else total / speed,
        }
