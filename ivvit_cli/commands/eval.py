"""`ivvit eval`: every head of a checkpoint on its shards, with several views per sample."""

import shlex
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ivvit_cli import console
from ivvit_cli.completion import complete_run
from ivvit_cli.errors import UsageError

if TYPE_CHECKING:
    from ivvit_cli.evaluation.checkpoint import Evaluation
    from ivvit_cli.evaluation.targets import Target
    from ivvit_cli.meta import Meta
    from ivvit_cli.models import JointModel
    from ivvit_cli.training.distributed import Ranks


class Frames(StrEnum):
    """The order in which a clip's frames are shown to the model."""

    NORMAL = "normal"
    REVERSE = "reverse"
    SHUFFLE = "shuffle"
    FREEZE = "freeze"


def evaluate(
    run: Annotated[
        str,
        typer.Argument(
            help="RUN, RUN@best-DATASET, RUN@step-N, or a checkpoint's folder.",
            autocompletion=complete_run,
        ),
    ],
    views: Annotated[
        str | None, typer.Option(help="CLIPSxCROPS per video, as in 10x3; an image has crops only.")
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=DIR|URL", help="Where the shards of a dataset are (repeatable)."
        ),
    ] = None,
    dataset: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Only this dataset (repeatable).")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Another split than the run's own.")] = None,
    frames: Annotated[
        Frames, typer.Option(help="The order of a clip's frames; images have none.")
    ] = Frames.NORMAL,
    batch: Annotated[int | None, typer.Option(min=1, help="Most views per forward pass.")] = None,
    backbone: Annotated[
        str | None, typer.Option(metavar="SOURCE", help="Where the run's frozen weights are now.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Evaluate a run on all of its datasets: top-1, top-5 and mean per-class accuracy.

    Views, split and batch are those of the run's own validation unless given. Every score and the
    counts per class go to RUN/eval/DATASET-SPLIT-VIEWS. Under torchrun, GPUs share the samples.

    Examples:
      ivvit eval runs/demo --views 10x3
      ivvit eval runs/demo --frames reverse
      torchrun --nproc-per-node 8 -m ivvit_cli eval runs/demo --views 10x3
      ivvit eval runs/demo@best-ucf101 --dataset ucf101 --data ucf101=/data/ucf101
    """
    from ivvit_cli.runs import find_checkpoint, load_model, read_meta
    from ivvit_cli.training.distributed import joined, own_device, ranks_of_environment
    from shards.stream.views import parse_views

    checkpoint = find_checkpoint(run)
    meta = read_meta(checkpoint)
    wanted = parse_views(views or meta.eval.views)
    targets = _open_targets(meta, dataset or [], data or [], split)
    ranks = ranks_of_environment()
    if ranks.leads:
        _warn_of_small_frames(meta, targets)
    place = own_device(ranks, device)
    model, _ = load_model(checkpoint, place, backbone)
    how = {"views": wanted, "order": frames.value, "batch": batch, "device": place}
    with joined(ranks, place):
        evaluations = [_evaluate(model, meta, target, ranks, **how) for target in targets]
    if not ranks.leads:
        return
    for evaluation in evaluations:
        _keep(evaluation, checkpoint, meta)
    if as_json:
        console.print_json(_document(evaluations))
    else:
        _print_table(f"{checkpoint.parent.parent.name}, {checkpoint.name}", evaluations)
        console.next_step(shlex.join(["ivvit", "predict", "FILE", "--ckpt", run]))


def _evaluate(
    model: "JointModel", meta: "Meta", target: "Target", ranks: "Ranks", **how: Any
) -> "Evaluation":
    """Evaluate one head; of several processes, each scores its share of the samples."""
    from ivvit_cli.evaluation.checkpoint import evaluate_target

    if not ranks.leads:
        return evaluate_target(model, meta, target, ranks=ranks, **how)
    title, count = f"{target.dataset} {target.split.name}", len(target.split)
    with console.progress(title, -(-count // ranks.world), "samples") as bar:
        return evaluate_target(model, meta, target, ranks=ranks, on_sample=bar.advance, **how)


def _keep(evaluation: "Evaluation", checkpoint: Path, meta: "Meta") -> None:
    """Save the details of an evaluation, and warn of what is odd."""
    from ivvit_cli.evaluation.checkpoint import save_evaluation

    target = evaluation.target
    title = f"{target.dataset} {target.split.name}"
    if count := evaluation.scores.undefined:
        total = len(evaluation.scores.labels)
        console.warn(f"{target.dataset}: {count} of {total} samples got NaN scores")
    try:
        console.say(f"{title}: details in {save_evaluation(evaluation, checkpoint, meta)}")
    except OSError as error:  # figures that took hours are worth more than their files
        console.warn(f"{title}: the details could not be saved: {error}")


def _open_targets(
    meta: "Meta", datasets: Sequence[str], moved: Sequence[str], split: str | None
) -> "list[Target]":
    from ivvit_cli.config import locate_shards
    from ivvit_cli.evaluation.targets import choose_heads, open_target

    elsewhere = _parse_moved(moved)
    choose_heads(list(meta.heads), list(elsewhere), "--data")
    folders = {name: head.shards for name, head in meta.heads.items()} | elsewhere
    chosen = choose_heads(list(meta.heads), datasets, "--dataset")
    known = [name for name in chosen if split or meta.heads[name].eval_split]
    if known:
        for name in chosen:
            if name not in known:
                console.say(f"{name}: no validation split, left out")
    return [
        open_target(
            name, meta.heads[name].model_dump(), folder=locate_shards(folders[name]), split=split
        )
        for name in known or chosen  # without any, the first says what to do
    ]


def _parse_moved(moved: Sequence[str]) -> dict[str, str]:
    pairs = [entry.partition("=") for entry in moved]
    for name, equals, folder in pairs:
        if not (name and equals and folder):
            raise UsageError(f"--data {name}{equals}{folder}: is not of the form NAME=DIR")
    return {name: folder for name, _, folder in pairs}


def _warn_of_small_frames(meta: "Meta", targets: "Sequence[Target]") -> None:
    from ivvit_cli.evaluation.frames import warn_of_small_frames

    for target in targets:
        needed = meta.heads[target.dataset].min_short_side
        if warning := warn_of_small_frames(
            target.dataset, target.split, size=meta.input.size, min_short_side=needed
        ):
            console.warn(warning)


def _document(evaluations: "Sequence[Evaluation]") -> dict[str, Any]:
    from ivvit_cli.evaluation.results import figures, uncertainty

    datasets: dict[str, dict[str, Any]] = {
        evaluation.target.dataset: {
            "split": evaluation.target.split.name,
            "views": str(evaluation.protocol.views),
            "frames": evaluation.protocol.order,
            **figures(evaluation.scores),
            **uncertainty(evaluation.scores, evaluation.protocol.average),
        }
        for evaluation in evaluations
    }
    mean = {key: fmean(entry[key] for entry in datasets.values()) for key in ("top1", "top5")}
    return {"datasets": datasets, "mean": mean}


def _print_table(title: str, evaluations: "Sequence[Evaluation]") -> None:
    document = _document(evaluations)
    rows: list[tuple[object, ...]] = [
        (name, entry["split"], *_percent(entry), entry["samples"], evaluation.protocol)
        for (name, entry), evaluation in zip(document["datasets"].items(), evaluations, strict=True)
    ]
    if len(rows) > 1:
        rows.append(("mean", "", *_percent(document["mean"]), None, ""))
    columns = ["dataset", "split", "top-1", "95 %", "top-5", "per class", "samples", "protocol"]
    console.table(title, columns, rows)


def _percent(entry: dict[str, Any]) -> list[str]:
    shares = [entry.get(key) for key in ("top1", "top5", "mean_class")]
    shown = ["" if value is None else f"{value:6.2f}" for value in shares]
    low, high = entry.get("top1_interval", (None, None))
    return [shown[0], "" if low is None else f"{low:.1f} to {high:.1f}", *shown[1:]]
