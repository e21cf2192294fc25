"""`ivvit model export`: a run as files for elsewhere."""

import json
import shlex
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from ivvit_cli import console
from ivvit_cli.completion import complete_run


class Format(StrEnum):
    """What is written."""

    CHECKPOINT = "checkpoint"
    ONNX = "onnx"
    HUGGINGFACE = "huggingface"
    SAFETENSORS = "safetensors"


def export(
    run: Annotated[
        str,
        typer.Argument(
            help="RUN, RUN@best-DATASET, RUN@step-N, or a checkpoint's folder.",
            autocompletion=complete_run,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option("-o", "--out", metavar="DIR", help="A new folder; for safetensors a file."),
    ],
    format_: Annotated[
        Format, typer.Option("--format", help="For ivvit, ONNX Runtime, transformers, or torch.")
    ] = Format.CHECKPOINT,
    dataset: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Only this dataset (repeatable).")
    ] = None,
    backbone: Annotated[
        str | None, typer.Option(metavar="SOURCE", help="Where the run's frozen weights are now.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Write a model with all its weights, which runs elsewhere.

    checkpoint: for ivvit, on a machine that has neither the run nor its frozen backbone. onnx: a
    file per dataset, from uint8 frames to logits, compared with torch (needs ivvit[onnx]).
    huggingface: a folder for the hub, in the names of transformers where it knows the model.
    safetensors: the tensors by ivvit's names.

    Examples:
      ivvit model export runs/demo -o demo-model
      ivvit model export runs/am-flow@best-kinetics400 -o k400 --backbone dinov2.safetensors
      ivvit model export runs/demo -o demo-onnx --format onnx --dataset ucf101
      ivvit model export runs/demo -o demo.safetensors --format safetensors
    """
    from ivvit_cli.runs import find_checkpoint

    checkpoint = find_checkpoint(run)
    notes = _export(format_, checkpoint, out, backbone=backbone, datasets=dataset or [])
    folder = out if out.is_dir() else out.parent
    sizes = {name: folder.joinpath(name).stat().st_size for name in notes}
    if as_json:
        files = [{"file": name, "bytes": sizes[name], **note} for name, note in notes.items()]
        document = {"checkpoint": str(checkpoint), "format": format_.value, "folder": str(folder)}
        console.print_json({**document, "bytes": sum(sizes.values()), "files": files})
        return
    console.say(f"{checkpoint} is in {out}")
    rows = [(folder / name, sizes[name], _about(note)) for name, note in notes.items()]
    console.table("Exported", ["file", "bytes", "about"], rows)
    console.next_step(_next(format_, out, notes))


def _export(
    format_: Format, checkpoint: Path, out: Path, **wanted: Any
) -> Mapping[str, Mapping[str, Any]]:
    """Write the files of a format, and return what there is to say about each."""
    if format_ is Format.ONNX:
        from ivvit_cli.exporting.onnx_files import export_onnx
        from ivvit_cli.runs import read_meta

        count = len(wanted["datasets"] or read_meta(checkpoint).heads)
        with console.progress("exporting", count, "files") as bar:
            return export_onnx(checkpoint, out, **wanted, on_file=bar.advance)
    if format_ is Format.HUGGINGFACE:
        from ivvit_cli.exporting.hugging_face import export_hugging_face

        return export_hugging_face(checkpoint, out, **wanted)
    if format_ is Format.SAFETENSORS:
        from ivvit_cli.exporting.tensors import export_tensors

        return export_tensors(checkpoint, out, **wanted)
    from ivvit_cli.exporting.checkpoint import export_checkpoint

    return export_checkpoint(checkpoint, out, **wanted)


def _about(note: Mapping[str, Any]) -> str:
    if "difference" not in note:
        return str(note["about"])
    return f"{note['about']}; logits differ from torch's by at most {note['difference']:.1e}"


def _next(format_: Format, out: Path, notes: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the command that usually follows."""
    name, note = next(iter(notes.items()))
    if format_ is Format.ONNX:
        file = json.dumps(str(out / name))
        code = f"import onnxruntime as o; m = o.InferenceSession({file}).get_modelmeta()"
        return shlex.join(["python", "-c", f"{code}; print(m.custom_metadata_map)"])
    if format_ is Format.SAFETENSORS:
        return shlex.join(["ivvit", "train", "--recipe", "RECIPE", f"model.weights={out}"])
    if note.get("architecture", "ivvit") != "ivvit":
        return shlex.join(["hf", "upload", "OWNER/NAME", str((out / name).parent)])
    return shlex.join(["ivvit", "predict", "FILE", "--ckpt", str(out)])
