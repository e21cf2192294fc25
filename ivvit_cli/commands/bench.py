"""`ivvit bench`: where your own time goes, on your machine, with your shards and your recipe."""

import shlex
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ivvit_cli import console
from ivvit_cli.completion import complete_recipe

if TYPE_CHECKING:
    import torch

    from ivvit_cli.training.job import Job

Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Settings to change.")
]
Recipe = Annotated[
    str,
    typer.Option(
        metavar="NAME|FILE",
        help="`ivvit recipe ls` lists the names.",
        autocompletion=complete_recipe,
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Seconds = Annotated[
    float, typer.Option(min=1.0, help="How long to measure, after a start that does not count.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]

Row = dict[str, Any]


def loader(
    recipe: Recipe,
    overrides: Overrides = None,
    seconds: Seconds = 30.0,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Time the reading of a recipe's shards: each dataset, all as scheduled, by threads.

    The bound is what JPEG decoding alone takes of the same samples, in one thread, times the
    threads. Samples are drawn as in training, others in every call, and the model does nothing.

    Examples:
      ivvit bench loader --recipe iv-vit
      ivvit bench loader --recipe iv-vit data.ucf101.batch=16 loader.threads=8 --json
    """
    from ivvit_cli.timing.reading import time_reading

    job, place = _job_and_device(recipe, overrides, device)
    document = _about(recipe, place) | time_reading(job, place, seconds)
    if as_json:
        console.print_json(document)
        return
    _show_datasets(document)
    _show_threads(document)
    console.print_text(console.clean(document["advice"]))
    console.next_step(_command("step", recipe, overrides))


def model(
    recipe: Recipe,
    overrides: Overrides = None,
    compiled: Annotated[
        bool, typer.Option("--compile", help="Measure compiled blocks, too.")
    ] = False,
    batch: Annotated[
        int | None,
        typer.Option(min=1, help="Views at a time (default: a micro-batch, on a CPU fewer)."),
    ] = None,
    seconds: Seconds = 30.0,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Time a recipe's model on synthetic input: forward, and forward and backward, by dataset.

    Neither shards nor weights are needed. TFLOP/s count two operations per multiply-add of
    `ivvit model info`, and a backward pass as two forward ones; where parts of the model are
    frozen it is shorter, and is not counted. Memory is that of a GPU.

    Examples:
      ivvit bench model --recipe iv-vit
      ivvit bench model --recipe tokshift-k400 --compile --batch 8 --device cuda
    """
    from ivvit_cli.timing.model import time_model

    job, place = _job_and_device(recipe, overrides, device)
    found = time_model(job, place, seconds, batch=batch, compiled=compiled)
    document = _about(recipe, place) | found
    if as_json:
        console.print_json(document)
        return
    columns = ["dataset", "blocks", "view", "batch", "forward ms", "and backward ms"]
    columns += ["TFLOP/s", "and backward", "peak GB", "and backward"]
    console.table(_title("A view", document), columns, map(_view_row, document["views"]))
    console.next_step(_command("step", recipe, overrides))


def step(
    recipe: Recipe,
    overrides: Overrides = None,
    seconds: Seconds = 30.0,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Time the training step on real data: wait, transfer, forward, backward, optimiser.

    This is the loop of `ivvit train` with fresh weights; nothing is saved. The hours are those of
    all the recipe's updates, without validations and checkpoints.

    Examples:
      ivvit bench step --recipe iv-vit
      ivvit bench step --recipe iv-vit train.compile=true train.accumulate=2 --seconds 60
    """
    from ivvit_cli.timing.step import time_steps

    job, place = _job_and_device(recipe, overrides, device)
    document = _about(recipe, place) | time_steps(job, place, seconds)
    if as_json:
        console.print_json(document)
        return
    rows = [
        (name, f"{found['share']:.1%}", _milliseconds(found["seconds"]))
        for name, found in document["phases"].items()
    ]
    console.table(_title("An update", document), ["phase", "share", "ms"], rows)
    _show_updates(document)
    _show_verdict(document)
    waits = document["waits"]
    console.next_step(_command("loader" if waits else "model", recipe, overrides))


def _job_and_device(
    recipe: str, overrides: list[str] | None, device: str
) -> "tuple[Job, torch.device]":
    from ivvit_cli.config import load_recipe
    from ivvit_cli.timing.rehearsal import device_of
    from ivvit_cli.training.job import job_of

    return job_of(load_recipe(recipe, overrides or [])), device_of(device)


def _about(recipe: str, device: "torch.device") -> Row:
    from ivvit_cli.timing.machine import describe_machine

    return {"recipe": recipe, "machine": describe_machine(device)}


def _command(kind: str, recipe: str, overrides: list[str] | None) -> str:
    return shlex.join(["ivvit", "bench", kind, "--recipe", recipe, *(overrides or [])])


def _title(what: str, document: Row) -> str:
    machine = document["machine"]
    device = machine["gpu"] or f"{machine['cores']} cores of {machine['cpu']}"
    return f"{what} of {document['recipe']} on {device}; median [least, most]"


def _show_datasets(document: Row) -> None:
    rows = []
    for name, found in document["datasets"].items():
        rate = found["clips_per_second" if found["kind"] == "video" else "images_per_second"]
        rows.append(
            (
                name,
                f"{found['kind']}, {found['codec']}, {found['short_side']} px",
                _spread(rate, ".0f"),
                f"{found['bytes_per_second']['median'] / 1e6:.1f}",
                f"{found['decoded_per_second']['median']:.0f}",
                _spread(found["share"], ".0%"),
            )
        )
    columns = ["dataset", "samples", "samples/s", "MB/s", "one thread decodes", "of the bound"]
    console.table(_title(f"Reading with {document['threads']} threads", document), columns, rows)


def _show_threads(document: Row) -> None:
    rates = ("clips_per_second", "images_per_second")  # one is zero where no dataset is of its kind
    rows = [
        (
            threads,
            *(_spread(found[rate], ".0f") if found[rate]["most"] else "" for rate in rates),
            f"{found['bytes_per_second']['median'] / 1e6:.1f}",
            _spread(found["share"], ".0%"),
        )
        for threads, found in document["by_threads"].items()
    ]
    columns = ["threads", "clips/s", "images/s", "MB/s", "of the bound"]
    console.table("All datasets as scheduled", columns, rows)


def _view_row(found: Row) -> list[str]:
    *frames, _, size, _ = found["shape"]
    both = found["forward_backward_tflops"]
    peaks = found["forward_peak_bytes"], found["forward_backward_peak_bytes"]
    return [
        found["dataset"],
        found["mode"],
        f"{f'{frames[0]} frames' if frames else 'image'}, {size} px",
        f"{found['batch']}",
        _milliseconds(found["forward_seconds"]),
        _milliseconds(found["forward_backward_seconds"]),
        f"{found['forward_tflops']:.3g}",
        "" if both is None else f"{both:.3g}",
        *("" if peak is None else f"{peak / 1e9:.2f}" for peak in peaks),
    ]


def _show_updates(document: Row) -> None:
    rows = [
        (
            " + ".join(found["datasets"]),
            f"{found['samples']:g}",
            f"{found['samples_per_second']:.4g}",
            _milliseconds(found["seconds"]),
            found["updates"],
        )
        for found in document["groups"]
    ]
    columns = ["update on", "effective batch", "samples/s", "ms", "updates of the recipe"]
    console.table("Updates", columns, rows)


def _show_verdict(document: Row) -> None:
    share, parts = document["phases"]["wait"]["share"], document["micro_batches"]
    device = "GPU" if document["machine"]["gpu"] else "model"
    verdict = f"the {device} waits for data {share:.0%} of the time"
    batches = f"{parts} micro-batch{'es' if parts > 1 else ''} per update"
    hours, count = document["hours"], document["updates"]["total"]
    length = f"{hours:.1f} hours" if hours >= 1 else f"{60 * hours:.1f} minutes"
    console.print_text(
        f"{verdict}; {batches}; {length} for the {count} updates of the recipe, "
        "without validations and checkpoints"
    )


def _milliseconds(seconds: Row) -> str:
    return _spread({key: 1e3 * value for key, value in seconds.items()}, ".4g")


def _spread(found: Row, form: str) -> str:
    return f"{found['median']:{form}} [{found['least']:{form}}, {found['most']:{form}}]"
