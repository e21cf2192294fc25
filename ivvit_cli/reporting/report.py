"""One run as one page: what was trained, how it went, what it gets right and wrong."""

from collections.abc import Iterator
from math import isfinite
from pathlib import Path
from typing import Any

from ivvit_cli.errors import EnvironmentFault
from ivvit_cli.reporting.evaluation import evaluation_section
from ivvit_cli.reporting.html import folded, page, table, text
from ivvit_cli.reporting.record import RunRecord
from ivvit_cli.reporting.svg import line_chart
from ivvit_cli.training.folder import RECIPE_FILE
from shards.files import write_atomically

_CHARTS = (  # title, event of metrics.jsonl, its figure, and what that is multiplied by
    ("Validation top-1, percent", "eval", "top1", 1),
    ("Training loss", "train", "loss", 1),
    ("Samples per second", "train", "clips_per_second", 1),
    ("Time spent waiting for data, percent", "train", "data_wait", 100),
)


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
        yield from evaluation_section(run, record)
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
    yield '<div class="charts">'
    for title, event, key, factor in _CHARTS:
        curves = {name: _curve(run, name, event, key, factor) for name in run.recipe["data"]}
        yield line_chart(title, curves, x_label="iteration")
    yield "</div>"
    cost = run.cost
    if cost["memory_mb"] is not None:
        yield (
            f"<p>{cost['clips_per_second']:,.0f} samples per second on average, "
            f"{100 * (cost['data_wait'] or 0):.1f} % of the time waiting for data, "
            f"at most {cost['memory_mb']:,.0f} MB of memory.</p>"
        )


def _curve(
    run: RunRecord, dataset: str, event: str, key: str, factor: float
) -> list[tuple[float, float]]:
    return [
        (each["iteration"], factor * each[key])
        for each in run.of(event, dataset)
        if each.get(key) is not None and isfinite(each[key])
    ]


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
