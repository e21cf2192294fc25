"""Predictions as JSON values and as rows."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from ivvit_cli.prediction.heads import Head
from ivvit_cli.prediction.reader import Prediction
from ivvit_cli.prediction.timeline import Moment, clock, merge
from ivvit_cli.prediction.windows import Windows

CSV_COLUMNS = ("file", "start", "end", "head", "rank", "label", "score")

Document = dict[str, Any]


def describe(prediction: Prediction, heads: Sequence[Head], top: int) -> Document:
    """Return a file or a window: the `top` labels of each head, those of its own kind first."""
    document: Document = {"input": str(prediction.path), "kind": prediction.kind}
    if prediction.span:
        start, end = prediction.span
        document |= {"start": round(start, 3), "end": round(end, 3)}
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


def join_windows(documents: Iterable[Document], windows: Windows) -> list[Document]:
    """Put the windows of each video into one document, with the segments that they make."""
    joined: list[Document] = []
    for document in documents:
        last = joined[-1] if joined else {}
        follows = "windows" in last and last["input"] == document["input"]
        if "start" in document:
            if not follows or document["start"] == 0:
                joined.append(_opened(document, windows))
            joined[-1]["windows"].append(_without_file(document))
        elif follows and "error" in document:  # the rest of a video
            last["error"] = document["error"]
        else:
            joined.append(document)
    for document in joined:
        if "windows" in document:
            document["segments"] = _segments(document["windows"])
    return joined


def _opened(document: Document, windows: Windows) -> Document:
    file = {key: document[key] for key in ("input", "kind")}
    return {**file, "window": windows.seconds, "hop": windows.hop, "windows": []}


def _without_file(document: Document) -> Document:
    return {key: value for key, value in document.items() if key not in ("input", "kind")}


def _segments(windows: Sequence[Document]) -> dict[str, list[dict[str, Any]]]:
    moments: dict[str, list[Moment]] = {}
    for window in windows:
        for head, labels in window.get("heads", {}).items():
            best = labels[0]
            moment = Moment(window["start"], window["end"], best["label"], best["score"])
            moments.setdefault(head, []).append(moment)
    return {head: [asdict(segment) for segment in merge(each)] for head, each in moments.items()}


def csv_rows(document: Document) -> Iterator[tuple[object, ...]]:
    """Yield a row for each label of each head, of a document that `describe` has made."""
    start, end = document.get("start", ""), document.get("end", "")
    for head, labels in document.get("heads", {}).items():
        for rank, entry in enumerate(labels, 1):
            score = f"{entry['score']:.6f}"
            yield document["input"], start, end, head, rank, entry["label"], score


def csv_line(cells: Iterable[object]) -> str:
    """Return cells as a line of csv."""
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(cells)
    return line.getvalue()


def file_rows(documents: Iterable[Document]) -> Iterator[tuple[str, ...]]:
    """Yield file, head, label and score of what has no windows, for a person."""
    for document in documents:
        for head, labels in document.get("heads", {}).items():
            for entry in labels:
                yield document["input"], head, entry["label"], percent(entry["score"])


def segment_rows(documents: Iterable[Document]) -> Iterator[tuple[str, ...]]:
    """Yield file, head, start, end, label and score of the segments, for a person."""
    for document in documents:
        for head, segments in document.get("segments", {}).items():
            for each in segments:
                span = clock(each["start"]), clock(each["end"])
                yield document["input"], head, *span, each["label"], percent(each["score"])


def without_repeats(rows: Iterable[tuple[str, ...]]) -> Iterator[tuple[str, ...]]:
    """Blank the file and the head where the row above has the same."""
    above: tuple[str, ...] = ("", "")
    for file, head, *rest in rows:
        same = (file == above[0], (file, head) == above)
        yield ("" if same[0] else file, "" if same[1] else head, *rest)
        above = (file, head)


def percent(share: float) -> str:
    """Return a share as percent, aligned."""
    return f"{100 * share:5.1f} %"
