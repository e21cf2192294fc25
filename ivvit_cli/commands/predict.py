"""`ivvit predict`: labels for images and videos, from one head of a checkpoint or all."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ivvit_cli import console
from ivvit_cli.errors import InputError

if TYPE_CHECKING:
    from ivvit_cli.meta import Meta
    from ivvit_cli.prediction.files import MediaFile
    from ivvit_cli.prediction.heads import Head
    from ivvit_cli.prediction.runner import Prediction

NAMED = 5  # files of a folder that are left out, by name


def predict(
    files: Annotated[
        list[Path], typer.Argument(help="Images, videos, or folders with some below them.")
    ],
    ckpt: Annotated[
        str,
        typer.Option(
            metavar="RUN", help="RUN, RUN@best-DATASET, RUN@step-N, or a checkpoint's folder."
        ),
    ],
    head: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Only this head (repeatable).")
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Labels per head.")] = 5,
    views: Annotated[
        str | None, typer.Option(help="CLIPSxCROPS per video, as in 10x3; an image has crops only.")
    ] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Most views per forward pass.")] = None,
    backbone: Annotated[
        str | None, typer.Option(metavar="SOURCE", help="Where the run's frozen weights are now.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Predict the labels of images and videos, with every head or the named ones.

    A file is read as the samples of the head's dataset were, so it gets the scores of `ivvit eval`;
    one of the other kind as the first head of that kind reads it, or a video as 8 frames.

    Examples:
      ivvit predict clip.mp4 --ckpt runs/demo
      ivvit predict photos/ clip.avi --ckpt runs/demo@best-ucf101 --head ucf101 --json
    """
    from ivvit_cli.evaluation.device import choose_device, wants_bf16
    from ivvit_cli.prediction.runner import predict as score
    from ivvit_cli.runs import find_checkpoint, load_model, read_meta
    from shards.stream.views import parse_views

    checkpoint = find_checkpoint(ckpt)
    meta = read_meta(checkpoint)
    wanted = parse_views(views or meta.eval.views)
    heads = _choose(meta, head or [])
    place = choose_device(device)
    media = _find_media(files)
    with console.progress("predicting", len(media), "files") as bar:
        predictions = score(
            load_model(checkpoint, place, backbone)[0],
            media,
            heads,
            views=wanted,
            **meta.input.model_dump(),
            average=meta.eval.average,
            bf16=wants_bf16(meta.eval.precision, place),
            batch=batch or meta.eval.batch,
            device=place,
            on_file=bar.advance,
        )
    results = [_document(prediction, heads, top) for prediction in predictions]
    if as_json:
        console.print_json(results)
    else:
        _print_table(results)
    _fail_on_errors(predictions)


def _choose(meta: "Meta", wanted: Sequence[str]) -> "list[Head]":
    from ivvit_cli.evaluation.targets import choose_heads
    from ivvit_cli.prediction.heads import make_heads

    names = choose_heads(list(meta.heads), wanted, "--head")
    described = {name: entry.model_dump() for name, entry in meta.heads.items()}
    return [entry for entry in make_heads(described) if entry.name in names]


def _find_media(paths: Sequence[Path]) -> "list[MediaFile]":
    from ivvit_cli.prediction.files import find_media

    media, left_out = find_media(paths)
    if left_out:
        files = "1 file that is" if len(left_out) == 1 else f"{len(left_out)} files that are"
        names = [path.name for path in left_out[:NAMED]] + ["…"] * (len(left_out) > NAMED)
        console.say(f"left out {files} neither image nor video: {', '.join(names)}")
    return media


def _document(prediction: "Prediction", heads: "Sequence[Head]", top: int) -> dict[str, Any]:
    document: dict[str, Any] = {"input": str(prediction.path), "kind": prediction.kind}
    if prediction.error:
        return {**document, "error": prediction.error}
    own_first = sorted(heads, key=lambda head: head.kind != prediction.kind)
    document["heads"] = {
        head.name: [
            {"label": label, "score": share}
            for label, share in head.best(prediction.scores[head.name], top)
        ]
        for head in own_first
    }
    return document


def _print_table(results: Sequence[dict[str, Any]]) -> None:
    rows = [row for result in results for row in _rows(result)]
    if console.out.is_terminal:
        rows = list(_without_repeats(rows))
    if rows:
        console.table("Predictions", ["file", "head", "label", "score"], rows)


def _rows(result: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    for head, labels in result.get("heads", {}).items():
        for entry in labels:
            yield result["input"], head, entry["label"], f"{100 * entry['score']:5.1f} %"


def _without_repeats(rows: Sequence[tuple[str, ...]]) -> Iterator[tuple[str, ...]]:
    """Blank the file and the head where the row above has the same."""
    above: tuple[str, ...] = ("", "")
    for file, head, *rest in rows:
        same = (file == above[0], (file, head) == above)
        yield ("" if same[0] else file, "" if same[1] else head, *rest)
        above = (file, head)


def _fail_on_errors(predictions: "Sequence[Prediction]") -> None:
    errors = [prediction.error for prediction in predictions if prediction.error]
    for error in errors[:-1]:
        console.fail(error)
    if errors:
        raise InputError(errors[-1])
