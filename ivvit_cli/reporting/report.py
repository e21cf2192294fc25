"""One run as one page: what was trained, how it went, what it gets right and wrong."""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ivvit_cli.errors import EnvironmentFault
from ivvit_cli.reporting.html import folded, page, picture, table, text
from ivvit_cli.reporting.mistakes import Mistake, find_mistakes
from ivvit_cli.reporting.record import (
    EvaluationRecord,
    RunRecord,
    class_names,
    confusion_matrix,
)
from ivvit_cli.reporting.svg import line_chart
from ivvit_cli.training.folder import RECIPE_FILE
from shards.files import write_atomically

_MISTAKES = 9  # of each dataset
_NAMED = 12  # classes, up to which a confusion matrix is a table
_SHOWN = 30  # classes, up to which all are shown at once


def write_report(run: RunRecord, path: Path) -> list[Path]:
    """Write the page, and the same figures as `.md` beside it; return both paths.

    Raises:
        InputError: a file of the run is damaged.
        EnvironmentFault: they cannot be written.
    """
    notes = path.with_suffix(".md")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, page(f"{run.name} · ivvit", _body(run)).encode())
        write_atomically(notes, _markdown(run).encode())
    except OSError as error:
        raise EnvironmentFault(f"{path}: cannot be written: {error.strerror or error}") from None
    return [path, notes]


def _body(run: RunRecord) -> Iterator[str]:
    recipe = run.recipe
    yield f"<h1>{text(run.name)}</h1>"
    yield f'<p class="muted">{text(recipe["description"] or "A run of ivvit")}</p>'
    yield f"<p>{text(describe(run))}</p>"
    yield "<h2>Accuracy</h2>"
    yield table(*_accuracies(run))
    if not run.evaluations:
        yield f"<p>More with <code>ivvit eval {text(run.folder)}</code>.</p>"
    yield "<h2>Training</h2>"
    yield from _curves(run)
    for record in run.evaluations.values():
        yield from _evaluation(run, record)
    yield "<h2>What it was made with</h2>"
    yield from _origins(run)


def describe(run: RunRecord) -> str:
    """Return what was trained on what, in two sentences."""
    recipe = run.recipe
    model, schedule, optim = recipe["model"], recipe["schedule"], recipe["optim"]
    length = f"{schedule['iterations']} iterations" if schedule["iterations"] else None
    length = length or f"{schedule['epochs']:g} epochs"
    start = f"weights of {model['weights']}" if model["weights"] else "random weights"
    changed = ", ".join(f"{key} {value}" for key, value in model["backbone_args"].items())
    backbone = f"{model['backbone']} ({changed})" if changed else model["backbone"]
    return (
        f"{backbone} with temporal kind {model['temporal']['kind']}, from {start}, "
        f"trained on {', '.join(recipe['data'])} ({schedule['kind']} schedule, {length}, "
        f"{optim['name']} at {optim['lr']:g}). Accuracies are in percent, with 95 % intervals."
    )


def _accuracies(run: RunRecord) -> tuple[list[str], list[list[str]]]:
    columns = ["dataset", "split", "top-1", "95 %", "top-5", "per class", "samples", "protocol"]
    rows = []
    for record in run.evaluations.values():
        figures, protocol = record.figures, record.figures["protocol"]
        how = protocol.get("words", f"{protocol['views']} views")
        rows.append([record.dataset, str(protocol["split"]), *_percent(figures), how])
    last = {event["dataset"]: event for event in run.of("eval")}
    for name, event in last.items():
        if not any(record.dataset == name for record in run.evaluations.values()):
            rows.append(
                [name, event["split"], *_percent(event), f"validation, {event['protocol']}"]
            )
    return columns, rows


def _percent(figures: Any) -> list[str]:
    low, high = figures.get("top1_interval") or (None, None)
    interval = "" if low is None else f"{low:.1f} to {high:.1f}"
    rest = [f"{figures['top5']:.2f}", f"{figures['mean_class']:.2f}", str(figures["samples"])]
    return [f"{figures['top1']:.2f}", interval, *rest]


def _curves(run: RunRecord) -> Iterator[str]:
    names = list(run.recipe["data"])

    def curves(event: str, key: str, factor: float = 1) -> dict[str, list[tuple[float, float]]]:
        return {
            name: [
                (each["iteration"], factor * each[key])
                for each in run.of(event, name)
                if each.get(key) is not None and np.isfinite(each[key])
            ]
            for name in names
        }

    yield '<div class="charts">'
    yield line_chart("Validation top-1, percent", curves("eval", "top1"), x_label="iteration")
    yield line_chart("Training loss", curves("train", "loss"), x_label="iteration")
    speed = curves("train", "clips_per_second")
    yield line_chart("Samples per second", speed, x_label="iteration")
    waiting = curves("train", "data_wait", 100)
    yield line_chart("Time spent waiting for data, percent", waiting, x_label="iteration")
    yield "</div>"
    cost = run.cost
    if cost["memory_mb"] is not None:
        yield (
            f"<p>{cost['clips_per_second']:,.0f} samples per second on average, "
            f"{100 * (cost['data_wait'] or 0):.1f} % of the time waiting for data, "
            f"at most {cost['memory_mb']:,.0f} MB of memory.</p>"
        )


def _evaluation(run: RunRecord, record: EvaluationRecord) -> Iterator[str]:
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


def _origins(run: RunRecord) -> Iterator[str]:
    if run.starts:
        last = run.starts[-1]
        machine = last.get("machine", {})
        rows = [("begun", last.get("time", "")), ("command", " ".join(last.get("command", [])))]
        rows += [(name, str(version)) for name, version in last.get("versions", {}).items()]
        rows += [(name, str(value)) for name, value in machine.items() if value]
        yield folded("Versions and machine", table(["", ""], rows))
    recipe = (run.folder / RECIPE_FILE).read_text(encoding="utf-8")
    yield folded("The recipe with every default", f"<pre>{text(recipe)}</pre>")


def _markdown(run: RunRecord) -> str:
    columns, rows = _accuracies(run)
    lines = [f"# {run.name}", "", describe(run), ""]
    for row in (columns, ["---"] * len(columns), *rows):
        lines.append(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |")
    cost = run.cost
    if cost["clips_per_second"] is not None:
        lines += ["", f"{cost['clips_per_second']:,.0f} samples per second on average."]
    return "\n".join(lines) + "\n"
