"""A recipe's model on synthetic input: forward, and forward and backward, eager and compiled."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ivvit_cli.errors import EnvironmentFault
from ivvit_cli.evaluation.device import wants_bf16
from ivvit_cli.models import JointModel, build_model
from ivvit_cli.models.cost import count_multiply_adds
from ivvit_cli.timing.clock import Clock, spread
from ivvit_cli.training.compiling import compile_blocks
from ivvit_cli.training.job import Job
from ivvit_cli.training.prepared import input_of

_CLASSES = 400  # of a head, which is of no account beside the blocks
_CPU_FRAMES = 16  # of a batch: more change nothing per view there

Row = dict[str, Any]


@dataclass
class Subject:
    """A job's model on a device, and how it is run."""

    job: Job
    model: JointModel
    device: torch.device
    size: int

    @property
    def bf16(self) -> bool:
        """Whether it runs under bf16 autocast."""
        return wants_bf16(self.job.train["precision"], self.device)

    @property
    def trained(self) -> float:
        """The share of its parameters that are trained."""
        counts = [(p.numel(), p.requires_grad) for p in self.model.parameters()]
        return sum(n for n, wanted in counts if wanted) / sum(n for n, _ in counts)

    def shape(self, dataset: str) -> tuple[int, ...]:
        """Return the shape of a view: (3, S, S) or (T, 3, S, S)."""
        clip = self.job.data[dataset].clip
        image = (3, self.size, self.size)
        return image if clip is None else (clip["frames"], *image)

    def forward(self, x: Tensor, dataset: str) -> None:
        """Score views, as an evaluation does."""
        self.model.eval()
        with torch.no_grad():
            self._logits(x, dataset)

    def learn(self, x: Tensor, labels: Tensor, dataset: str) -> None:
        """Pass views forward, and the gradients of their loss back."""
        self.model.train()
        self.model.zero_grad(set_to_none=True)
        cross_entropy(self._logits(x, dataset).float(), labels).backward()  # type: ignore[no-untyped-call]

    def _logits(self, x: Tensor, dataset: str) -> Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            logits: Tensor = self.model(x, dataset)
        return logits


def time_model(
    job: Job, device: torch.device, seconds: float, *, batch: int | None, compiled: bool
) -> Row:
    """Run a job's model for about so many seconds; return what a view of each dataset takes.

    Args:
        batch: views at a time; by default those of a micro-batch, on a CPU fewer.
        compiled: measure compiled blocks, too.

    Raises:
        UsageError: the model cannot be built so.
        EnvironmentFault: a single view does not fit into memory.
    """
    torch.manual_seed(0)
    model = build_model(job.model, dict.fromkeys(job.data, _CLASSES)).to(device)
    model.encoder.vit.set_grad_checkpointing(job.train["activation_checkpointing"])
    subject = Subject(job, model, device, input_of(job, model).size)
    adds = {name: count_multiply_adds(model, subject.shape(name), name).total for name in job.data}
    clock = Clock(device, seconds / (2 * (1 + compiled) * len(adds)))
    rows = [_row(subject, name, "eager", adds[name], clock, batch) for name in adds]
    if compiled:
        compile_blocks(model, passes=2 * len(adds))
        rows += [_row(subject, name, "compiled", adds[name], clock, batch) for name in adds]
    return {"bf16": subject.bf16, "trained": subject.trained, "views": rows}


def _row(subject: Subject, name: str, mode: str, adds: int, clock: Clock, batch: int | None) -> Row:
    wanted = batch or _usual_batch(subject, name)
    fits, times = largest_fitting(wanted, name, partial(_time_batch, subject, name, clock))
    forward, both = (spread([each / fits for each in lengths]) for lengths in times.pop("lengths"))
    return {
        "dataset": name,
        "mode": mode,
        "shape": list(subject.shape(name)),
        "batch": fits,
        "multiply_adds": adds,
        "forward_seconds": asdict(forward),
        "forward_backward_seconds": asdict(both),
        "forward_tflops": 2 * adds / forward.median / 1e12,
        # A backward pass is two forward ones, unless it leaves out what is frozen.
        "forward_backward_tflops": 6 * adds / both.median / 1e12 if subject.trained == 1 else None,
        **times,
    }


def _usual_batch(subject: Subject, name: str) -> int:
    job, (frames, *_) = subject.job, (1, *subject.shape(name))[-4:]
    whole = job.data[name].batch or -(-job.schedule["batch"] // len(job.data))
    part: int = -(-whole // job.train["accumulate"])
    return part if subject.device.type == "cuda" else max(min(part, _CPU_FRAMES // frames), 1)


def _time_batch(subject: Subject, name: str, clock: Clock, batch: int) -> Row:
    device = subject.device
    x = torch.randn(batch, *subject.shape(name), device=device)
    labels = torch.randint(_CLASSES, (batch,), device=device)
    subject.model.zero_grad(set_to_none=True)  # what the last dataset left
    lengths, peaks = [], []
    for work in (partial(subject.forward, x, name), partial(subject.learn, x, labels, name)):
        if device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(device)
        lengths.append(clock.time(work))
        if device.type == "cuda":
            peaks.append(torch.cuda.max_memory_allocated(device))
    forward, both = peaks or (None, None)
    return {"lengths": lengths, "forward_peak_bytes": forward, "forward_backward_peak_bytes": both}


def largest_fitting(batch: int, name: str, measure: Callable[[int], Row]) -> tuple[int, Row]:
    """Return the largest batch that fits into memory, halved from `batch` on, and its row."""
    while True:
        try:
            return batch, measure(batch)
        except torch.OutOfMemoryError:
            if batch == 1:
                raise EnvironmentFault(
                    f"out of memory with one view of {name}",
                    hint="train.activation_checkpointing=true, or a smaller backbone",
                ) from None
        batch //= 2
