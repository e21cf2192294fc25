"""One evaluation as a section of the page: what is right and wrong of each class."""

import io
from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image

from ivvit_cli.reporting.html import folded, picture, table, text
from ivvit_cli.reporting.mistakes import Mistake, find_mistakes
from ivvit_cli.reporting.record import EvaluationRecord, RunRecord, class_names, confusion_matrix

_MISTAKES = 9  # of each dataset
_NAMED = 12  # classes, up to which a confusion matrix is a table
_SHOWN = 30  # classes, up to which all are shown at once


def evaluation_section(run: RunRecord, record: EvaluationRecord) -> Iterator[str]:
    """Yield the HTML of an evaluation: accuracy per class, confusions, confident mistakes."""
    name = record.folder.name
    classes = class_names(run, record.dataset)
    yield f"<h2>{text(name)}</h2>"
    error = record.figures.get("calibration_error")
    if error is not None:
        yield f"<p>Expected calibration error: {error:.1f} % over 15 bins.</p>"
    yield "<h3>Accuracy per class</h3>"
    yield from _per_class(record, classes)
    yield "<h3>What is taken for what</h3>"
    yield from _confusion(record, classes)
    if record.figures["protocol"].get("frames", "normal") == "normal":
        section = run.recipe["data"].get(record.dataset)
        yield "<h3>The most confident mistakes</h3>"
        found = find_mistakes(record, section["shards"] if section else "", _MISTAKES)
        yield from _mistakes(found, classes)


def _per_class(record: EvaluationRecord, classes: Sequence[str]) -> Iterator[str]:
    counts = [each for each in record.scores.per_class() if each.samples]
    counts.sort(key=lambda each: (each.top1 / each.samples, each.label))
    rows = [
        (
            classes[each.label],
            f"{100 * each.top1 / each.samples:.1f}",
            each.samples,
            _bar(each.top1 / each.samples),
        )
        for each in counts
    ]
    columns = ["class", "top-1", "samples", ""]
    if len(rows) <= _SHOWN:
        yield _bars(columns, rows)
        return
    half = _SHOWN // 2
    yield f"<p>The {half} worst of {len(rows)}:</p>"
    yield _bars(columns, rows[:half])
    yield folded(f"The other {len(rows) - half}", _bars(columns, rows[half:]))


def _bar(share: float) -> str:
    return f'<span class="bar" style="width:{6 * share:.2f}rem"></span>'


def _bars(columns: list[str], rows: Sequence[Sequence[object]]) -> str:
    head = "".join(f"<th>{text(column)}</th>" for column in columns)
    body = "".join(
        f'<tr><td>{text(name)}</td><td class="n">{share}</td><td class="n">{samples}</td>'
        f"<td>{bar}</td></tr>"
        for name, share, samples, bar in rows
    )
    return f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>'


def _confusion(record: EvaluationRecord, classes: Sequence[str]) -> Iterator[str]:
    matrix = confusion_matrix(record.scores)
    if len(classes) <= _NAMED:
        yield table(
            ["class, taken for", *classes],
            [(name, *map(str, row)) for name, row in zip(classes, matrix.tolist(), strict=True)],
        )
    else:
        said = f"Confusion matrix of {len(classes)} classes; a clean diagonal is right"
        yield picture(_draw(matrix), "png", said, "matrix")
        said = "Rows are classes, columns what they are taken for, both in label order."
        yield f'<p class="muted">{said}</p>'
    pairs = [
        (classes[each.label], classes[each.taken_for], each.samples)
        for each in record.scores.confusions(10)
    ]
    if pairs:
        yield table(["class", "taken for", "samples"], pairs)


def _draw(matrix: "np.ndarray[tuple[int, ...], np.dtype[np.int64]]") -> bytes:
    """Return a PNG of one pixel per cell: the share of its row, as the opacity of one blue."""
    shares = matrix / matrix.sum(1, keepdims=True).clip(1)
    pixels = np.zeros((*matrix.shape, 4), np.uint8)
    pixels[..., :3] = (60, 130, 230)
    pixels[..., 3] = np.rint(255 * np.sqrt(shares))
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    return file.getvalue()


def _mistakes(found: Sequence[Mistake], classes: Sequence[str]) -> Iterator[str]:
    if not found:
        yield "<p>There are none.</p>"
        return
    if not any(each.frames for each in found):
        yield '<p class="muted">The shards are not where the recipe says: without frames.</p>'
    yield '<div class="mistakes">'
    for each in found:
        said = f"{classes[each.label]} taken for {classes[each.taken_for]}"
        frames = "".join(picture(frame, "jpeg", said) for frame in each.frames)
        yield (
            f'<div><div class="frames">{frames}</div>'
            f"<p><b>{text(classes[each.label])}</b> taken for "
            f"<b>{text(classes[each.taken_for])}</b>, {100 * each.confidence:.0f} % sure<br>"
            f'<span class="muted">{text(each.key)}</span></p></div>'
        )
    yield "</div>"
