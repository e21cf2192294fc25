"""`ivvit predict`: labels for images and videos, from one head of a checkpoint or all."""

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ivvit_cli import console
from ivvit_cli.completion import complete_run
from ivvit_cli.errors import EnvironmentFault, InputError, UsageError

if TYPE_CHECKING:
    from ivvit_cli.prediction.documents import Document
    from ivvit_cli.prediction.files import MediaFile
    from ivvit_cli.prediction.heads import Head
    from ivvit_cli.prediction.plot import Tracks
    from ivvit_cli.prediction.reader import Prediction
    from ivvit_cli.prediction.windows import Windows

NAMED = 5  # files of a folder that are left out, by name


def predict(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="Images, videos, folders with some below them, or - for names on stdin."
        ),
    ],
    ckpt: Annotated[
        str,
        typer.Option(
            metavar="RUN",
            help="RUN, RUN@best-DATASET, RUN@step-N, or a checkpoint's folder.",
            autocompletion=complete_run,
        ),
    ],
    head: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Only this head (repeatable).")
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Labels per head.")] = 5,
    window: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="Predict every window of a video, of any length."),
    ] = None,
    hop: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="From window to window (default: the window)."),
    ] = None,
    views: Annotated[
        str | None, typer.Option(help="CLIPSxCROPS per video, as in 10x3; an image has crops only.")
    ] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Most views per forward pass.")] = None,
    backbone: Annotated[
        str | None, typer.Option(metavar="SOURCE", help="Where the run's frozen weights are now.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE.svg", help="Draw the timelines of --window.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    as_lines: Annotated[
        bool, typer.Option("--jsonl", help="Print a line of JSON per file or window, at once.")
    ] = False,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="Print a line of csv per label, at once.")
    ] = False,
) -> None:
    """Predict the labels of images and videos, with every head or the named ones.

    A file is read as the samples of the head's dataset were, so it gets the scores of `ivvit eval`;
    one of the other kind as the first head of that kind reads it, or a video as 8 frames. With
    --window, every window of a video is read as a video of its own; it may last hours.

    Examples:
      ivvit predict clip.mp4 --ckpt runs/demo
      ivvit predict photos/ clip.avi --ckpt runs/demo@best-ucf101 --head ucf101 --json
      ivvit predict match.mp4 --ckpt runs/demo --window 4 --hop 2 --plot match.svg
      find . -name '*.mp4' | ivvit predict - --ckpt runs/demo --jsonl
    """
    from ivvit_cli.prediction.checkpoint import open_predictor
    from ivvit_cli.prediction.plot import Tracks

    if as_json + as_lines + as_csv > 1:
        raise UsageError("--json, --jsonl and --csv: choose one")
    windows = _divide(window, hop, plot)
    predictor = open_predictor(ckpt, head or [], views=views, device=device)
    media = _find_media(files)
    predictions = predictor.predict(media, windows, batch=batch, backbone=backbone)
    tracks = Tracks(predictor.heads) if plot else None
    errors: list[str] = []
    at_once = as_lines or as_csv
    with _progress(media, windows, hidden=at_once and console.out.is_terminal) as bar:
        documents = _documents(predictions, predictor.heads, top, bar, tracks, errors)
        if at_once:
            _print_lines(documents, as_csv=as_csv)
        joined = _joined(documents, windows)
    if as_json:
        console.print_json(joined)
    elif not at_once:
        _print_table(joined)
    if plot and tracks:
        _draw(tracks, plot)
    if errors:
        raise typer.Exit(InputError.exit_code)


def _divide(window: float | None, hop: float | None, plot: Path | None) -> "Windows | None":
    """Return the windows that the options ask for.

    Raises:
        UsageError: seconds that are none, an option that needs --window, or a plot that is no .svg.
        InputError: the folder of the plot is not there.
    """
    from ivvit_cli.prediction.windows import MAX_SECONDS, Windows

    for name, value in (("--window", window), ("--hop", hop)):
        if value is not None and not 0 < value <= MAX_SECONDS:  # nan is neither
            raise UsageError(f"{name} {value:g}: not a number of seconds above 0, up to 48 hours")
    if window is None:
        if hop is not None or plot is not None:
            raise UsageError("--hop and --plot need --window")
        return None
    if plot is not None and plot.suffix != ".svg":
        raise UsageError(f"--plot {plot}: the name does not end in .svg")
    if plot is not None and not plot.parent.is_dir():
        raise InputError(f"{plot}: its folder does not exist")
    return Windows(window, window if hop is None else hop)


def _find_media(paths: Sequence[Path]) -> "list[MediaFile]":
    from ivvit_cli.prediction.files import find_media, read_names

    named = [
        name
        for path in paths
        for name in (read_names(sys.stdin.buffer) if str(path) == "-" else [path])
    ]
    media, left_out = find_media(named)
    if left_out:
        files = "1 file that is" if len(left_out) == 1 else f"{len(left_out)} files that are"
        names = [path.name for path in left_out[:NAMED]] + ["…"] * (len(left_out) > NAMED)
        console.say(f"left out {files} neither image nor video: {', '.join(names)}")
    return media


def _progress(
    media: "Sequence[MediaFile]", windows: "Windows | None", *, hidden: bool
) -> AbstractContextManager[console.Progress | None]:
    if hidden:  # a bar would run into the lines
        return nullcontext()
    if windows:
        return console.progress("predicting", None, "windows")
    return console.progress("predicting", len(media), "files")


def _documents(
    predictions: "Iterable[Prediction]",
    heads: "Sequence[Head]",
    top: int,
    bar: console.Progress | None,
    tracks: "Tracks | None",
    errors: list[str],
) -> "Iterator[Document]":
    """Yield each prediction's document, and tell of errors when they come up."""
    from ivvit_cli.prediction.documents import describe

    for prediction in predictions:
        if prediction.error:
            console.fail(prediction.error)
            errors.append(prediction.error)
        if tracks:
            tracks.add(prediction)
        if bar:
            bar.advance()
        yield describe(prediction, heads, top)


def _joined(documents: "Iterable[Document]", windows: "Windows | None") -> "list[Document]":
    from ivvit_cli.prediction.documents import join_windows

    return join_windows(documents, windows) if windows else list(documents)


def _print_lines(documents: "Iterable[Document]", *, as_csv: bool) -> None:
    from ivvit_cli.prediction.documents import CSV_COLUMNS, csv_line, csv_rows

    if not as_csv:
        for document in documents:
            console.print_line(json.dumps(document, allow_nan=False))
        return
    console.print_line(csv_line(CSV_COLUMNS))
    for document in documents:
        for row in csv_rows(document):
            console.print_line(csv_line(map(console.clean, row)))


def _print_table(joined: "Sequence[Document]") -> None:
    from ivvit_cli.prediction.documents import file_rows, segment_rows, without_repeats

    for title, columns, rows in (
        ("Predictions", ["file", "head", "label", "score"], list(file_rows(joined))),
        ("Timeline", ["file", "head", "from", "to", "label", "score"], list(segment_rows(joined))),
    ):
        if rows:
            shown = without_repeats(rows) if console.out.is_terminal else rows
            console.table(title, columns, shown)


def _draw(tracks: "Tracks", path: Path) -> None:
    from ivvit_cli.prediction.plot import draw
    from shards.files import write_atomically

    if not tracks.tracks:
        console.warn(f"{path}: not written, as there is no window to draw")
        return
    try:
        write_atomically(path, draw(tracks.tracks))
    except OSError as error:
        raise EnvironmentFault(f"{path}: cannot be written: {error.strerror or error}") from None
    console.say(f"drawn: {path}")
