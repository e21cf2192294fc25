"""A file for ONNX Runtime of each head: from frames as a decoder gives them to logits."""

import json
import warnings
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from timm.models.hiera import MaskUnitAttention
from torch import Tensor, nn

from ivvit_cli.errors import EnvironmentFault, IvvitError
from ivvit_cli.exporting.checkpoint import Notes
from ivvit_cli.exporting.folder import new_folder
from ivvit_cli.exporting.frames import moving_frames
from ivvit_cli.exporting.subject import Subject, frames_of, load_subject
from ivvit_cli.meta import Meta
from ivvit_cli.models import JointModel

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
TOLERANCE = 1e-4  # of a logit, or of the largest one where that is above 1
_LARGEST = 1_900_000_000  # bytes of weights inside an ONNX file, which cannot hold 2 GiB


def export_onnx(
    checkpoint: Path,
    out: Path,
    *,
    backbone: str | None = None,
    datasets: Sequence[str] = (),
    on_file: Callable[[], object] | None = None,
) -> Notes:
    """Write `out/DATASET.onnx` for every head, each compared with the model that it was made of.

    Its input `pixels` are uint8 frames (B, T, 3, H, W), images (B, 3, H, W), of any number B; its
    output `logits` (B, C). Normalisation is inside: nobody can forget it, or take another's.

    Args:
        backbone, datasets: as in `load_subject`.
        on_file: called once per file.

    Raises:
        IvvitError: torch cannot export the model, or ONNX Runtime computes otherwise.
        UsageError, InputError: as `export_checkpoint`.
        EnvironmentFault: as `export_checkpoint`, or a package is missing.
    """
    _check_packages()
    notes: Notes = {}
    with new_folder(out) as folder:
        subject = load_subject(checkpoint, backbone, datasets)
        for dataset in subject.meta.heads:
            path = folder / f"{dataset}.onnx"
            notes[path.name] = _export_head(subject.only([dataset]), dataset, path)
            if (beside := path.with_name(f"{path.name}.data")).exists():
                notes[beside.name] = {"about": "its weights: keep them beside it"}
            if on_file:
                on_file()
    return notes


class FramesToLogits(nn.Module):
    """A head of a model, with the normalisation before it."""

    gain: Tensor
    shift: Tensor

    def __init__(self, model: JointModel, meta: Meta, dataset: str) -> None:
        super().__init__()
        self.model, self.dataset = model, dataset
        for module in model.modules():
            if isinstance(module, MaskUnitAttention):
                module.fused_attn = (
                    False  # which ONNX lacks where units are a dimension of their own
                )
        mean, std = (
            torch.tensor(each)[:, None, None] for each in (meta.input.mean, meta.input.std)
        )
        self.register_buffer("gain", 1 / (255 * std))
        self.register_buffer("shift", -mean / std)

    def forward(self, pixels: Tensor) -> Tensor:
        """Map uint8 images (B, 3, H, W) or clips (B, T, 3, H, W) to logits (B, C)."""
        logits: Tensor = self.model(pixels.float() * self.gain + self.shift, self.dataset)
        return logits


def _check_packages() -> None:
    for package in PACKAGES:
        if find_spec(package) is None:
            raise EnvironmentFault(
                f"the format onnx needs the package {package}", hint="pip install 'ivvit[onnx]'"
            )


def _export_head(subject: Subject, dataset: str, path: Path) -> dict[str, Any]:
    net = FramesToLogits(subject.model, subject.meta, dataset).eval()
    frames, size = frames_of(subject.meta.heads[dataset]), subject.meta.input.size
    _write_graph(net, _some(2, frames, size), describe_head(subject.meta, dataset), path)
    clips = [_some(count, frames, size) for count in (1, 3)]
    return {
        "about": f"pixels uint8 (B, {'' if frames is None else f'{frames}, '}3, {size}, {size})",
        "dataset": dataset,
        "difference": _largest_difference(net, clips, path),
    }


def describe_head(meta: Meta, dataset: str) -> dict[str, str]:
    """Return what a user of the file has to know, each value as JSON."""
    head = meta.heads[dataset].model_dump(mode="json")
    clip = dict.fromkeys(("frames", "sample", "stride", "seconds")) | (head["clip"] or {})
    values = {"ivvit": meta.ivvit, "dataset": dataset, "kind": head["kind"], **clip}
    values |= {key: head["conversion"].get(key) for key in ("short_side", "fps")}
    values |= {**meta.input.model_dump(), "classes": head["classes"]}
    return {name: json.dumps(value) for name, value in values.items()}


def _some(count: int, frames: int | None, size: int) -> Tensor:
    pixels = moving_frames(count, frames or 1, size, seed=count)
    return pixels[:, 0] if frames is None else pixels


def _write_graph(net: FramesToLogits, pixels: Tensor, about: dict[str, str], path: Path) -> None:
    """Trace a model with any size of batch, and write it with its description."""
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch about its own exporter
        try:
            program = torch.onnx.export(
                net,
                (pixels,),
                dynamo=True,
                verbose=False,
                input_names=["pixels"],
                output_names=["logits"],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
            )
        except RuntimeError as error:
            reason = _first_cause(error)
            raise IvvitError(f"{net.dataset}: torch cannot export this model: {reason}") from error
    assert program is not None
    for node in program.model.graph.all_nodes():
        node.metadata_props.clear()  # where in whose files each came from
    program.model.metadata_props.update(about)
    weights = sum(tensor.nbytes for tensor in net.state_dict().values())
    program.save(path, external_data=weights > _LARGEST)


def _first_cause(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split()) or type(error).__name__


def _largest_difference(net: FramesToLogits, batches: Sequence[Tensor], path: Path) -> float:
    """Return the largest difference of a logit between torch and ONNX Runtime.

    Raises:
        IvvitError: it is above `TOLERANCE`, or ONNX Runtime does not run the file.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    worst = 0.0
    for pixels in batches:
        with torch.no_grad():
            expected = net(pixels)
        try:
            (logits,) = session.run(None, {"pixels": pixels.numpy()})
        except Exception as error:  # its errors have no family
            raise IvvitError(f"{net.dataset}: ONNX Runtime fails: {error}") from error
        difference = (torch.from_numpy(logits) - expected).abs().max().item()
        allowed = TOLERANCE * max(1.0, expected.abs().max().item())
        if not difference <= allowed:
            raise IvvitError(
                f"{net.dataset}: ONNX Runtime's logits differ from torch's by {difference:.2g}, "
                f"more than {allowed:.2g}: nothing was written"
            )
        worst = max(worst, difference)
    return worst
