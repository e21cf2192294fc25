"""`ivvit explain`: what a model looks at in a video or an image."""

import shlex
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ivvit_cli import console
from ivvit_cli.completion import complete_recipe, complete_run
from ivvit_cli.errors import UsageError

if TYPE_CHECKING:
    from ivvit_cli.explaining.subject import Subject


class Map(StrEnum):
    """What is shown of a block."""

    AM_FLOW = "am-flow"
    ATTENTION = "attention"
    ROLLOUT = "rollout"


def explain(
    file: Annotated[Path, typer.Argument(help="A video or an image.")],
    ckpt: Annotated[
        str | None,
        typer.Option(
            metavar="RUN",
            help="RUN, RUN@best-DATASET, RUN@step-N, or a checkpoint.",
            autocompletion=complete_run,
        ),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            "--model",
            metavar="RECIPE",
            help="A recipe's model, not trained any more.",
            autocompletion=complete_recipe,
        ),
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Settings of --model to change.")
    ] = None,
    map_: Annotated[
        Map, typer.Option("--map", help="AM Flow needs a video; the others take images, too.")
    ] = Map.ATTENTION,
    blocks: Annotated[
        str | None, typer.Option(metavar="N,N", help="Blocks, counted from 1 (default: all).")
    ] = None,
    frames: Annotated[int | None, typer.Option(min=1, help="Frames of the clip.")] = None,
    head: Annotated[
        str | None, typer.Option(metavar="NAME", help="The head whose clips and adapters count.")
    ] = None,
    backbone: Annotated[
        str | None, typer.Option(metavar="SOURCE", help="Where the run's frozen weights are now.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", metavar="DIR", help="(default: FILE-MAP)")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Show what every block looks at: AM Flow, the class token's attention, or its rollout.

    Writes strip.png, maps.npz and, of a video, overlay.gif and overlay.mp4 into a folder. The clip
    is the middle one of the video, and the crop that of `ivvit predict`.

    Examples:
      ivvit explain clip.mp4 --ckpt runs/am-flow --map am-flow
      ivvit explain photo.jpg --ckpt runs/demo --map rollout --blocks 1,6,12
      ivvit explain clip.mp4 --model am-flow-k400 --map am-flow model.weights=dinov2.safetensors
    """
    folder = out or Path(f"{file.stem}-{map_.value}")
    if (folder / "strip.png").exists():
        raise UsageError(f"{folder}: holds an explanation already", hint="another folder: -o DIR")
    subject = _subject(ckpt, recipe, overrides or [], head, backbone, device)
    document = _explain(subject, file, map_, _numbers(blocks), frames, folder)
    if as_json:
        console.print_json(document)
        return
    for name in document["files"]:
        console.print_text(console.clean(name))
    if recipe is not None:
        console.next_step(shlex.join(["ivvit", "train", "--recipe", recipe, *(overrides or [])]))


def _subject(
    ckpt: str | None,
    recipe: str | None,
    overrides: list[str],
    head: str | None,
    backbone: str | None,
    device: str,
) -> "Subject":
    from ivvit_cli.evaluation.device import choose_device
    from ivvit_cli.explaining.subject import subject_of_recipe, subject_of_run

    place = choose_device(device)
    if ckpt is not None and recipe is None:
        if overrides and "=" not in overrides[0]:
            raise UsageError(f"{overrides[0]}: is a second file, and explain takes one")
        if overrides:
            raise UsageError(f"{overrides[0]}: changes a recipe, and a run has its own")
        return subject_of_run(ckpt, head, place, backbone)
    if recipe is None or ckpt is not None:
        raise UsageError("which model? give --ckpt RUN, or --model RECIPE")
    return subject_of_recipe(recipe, overrides, head, place)


def _explain(
    subject: "Subject",
    file: Path,
    map_: Map,
    blocks: list[int] | None,
    frames: int | None,
    folder: Path,
) -> dict[str, Any]:
    from ivvit_cli.explaining.runner import explain as compute
    from ivvit_cli.explaining.subject import look
    from ivvit_cli.explaining.write import write_all

    x, shown = look(subject, file, frames)
    maps = compute(
        subject.model, x, subject.head.name, kind=map_.value, blocks=blocks, learned=subject.trained
    )
    return {
        "input": str(file),
        "map": map_.value,
        "head": subject.head.name,
        "frames": len(shown),
        "blocks": list(maps),
        "files": [str(path) for path in write_all(folder, shown, maps)],
    }


def _numbers(text: str | None) -> list[int] | None:
    if text is None:
        return None
    if not all(part.isdecimal() for part in text.split(",")):
        raise UsageError(f"--blocks {text}: numbers from 1, as in 1,6,12")
    return [int(part) for part in text.split(",")]
