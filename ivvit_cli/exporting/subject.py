"""What is exported: a checkpoint's model, or as much of it as some of its datasets need."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ivvit_cli.evaluation.targets import choose_heads
from ivvit_cli.exporting.origin import publish
from ivvit_cli.meta import HeadMeta, Meta
from ivvit_cli.models import JointModel, build_model
from ivvit_cli.runs import load_model


@dataclass(frozen=True)
class Subject:
    """A model in evaluation mode, and what is told of it elsewhere.

    `meta` names weights as `publish` does, and `start` is where they were for the training.
    """

    model: JointModel
    meta: Meta
    start: str | None

    def only(self, datasets: Sequence[str]) -> "Subject":
        """Return the model without the heads, and the adapters, of other datasets."""
        meta = self.meta
        if set(datasets) == set(meta.heads):
            return self
        heads = {name: head for name, head in meta.heads.items() if name in datasets}
        metrics = {name: scores for name, scores in meta.metrics.items() if name in datasets}
        model = build_model(meta.model, {name: len(h.classes) for name, h in heads.items()})
        weights = self.model.state_dict()
        model.load_state_dict({name: weights[name] for name in model.state_dict()})
        part = meta.model_copy(update={"heads": heads, "metrics": metrics})
        return replace(self, model=model.eval(), meta=part)


def load_subject(
    checkpoint: Path, backbone: str | None = None, datasets: Sequence[str] = ()
) -> Subject:
    """Load a checkpoint, frozen weights and all.

    Args:
        backbone: where the frozen weights are that it names, if not where it says.
        datasets: whose heads are wanted; all by default.

    Raises:
        InputError: the checkpoint, or its backbone, is damaged.
        EnvironmentFault: its backbone is not there.
        UsageError: it has no head for one of the datasets.
    """
    model, meta = load_model(checkpoint, "cpu", backbone)
    told = meta.model_copy(update={"model": publish(meta.model)})
    subject = Subject(model, told, meta.model.get("weights"))
    return subject.only(choose_heads(list(meta.heads), datasets, "--dataset"))


def frames_of(head: HeadMeta) -> int | None:
    """Return the frames of a head's clips; None for images."""
    return None if head.clip is None else int(head.clip["frames"])
