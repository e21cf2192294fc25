"""`ivvit model`: what there is, what one costs, and the weights of others as a file of ours."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ivvit_cli import console
from ivvit_cli.completion import complete_recipe
from ivvit_cli.errors import UsageError

if TYPE_CHECKING:
    from ivvit_cli.models import JointModel

Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Settings to change.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


def ls(
    pattern: Annotated[
        str | None, typer.Argument(help="Part of a backbone's name; * is anything.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List the temporal kinds with their options, and the backbones with their pretraining tags.

    Examples:
      ivvit model ls
      ivvit model ls dinov2
      ivvit model ls 'vit_base*224' --json
    """
    from ivvit_cli.config.kinds import list_kinds
    from ivvit_cli.models.catalogue import list_backbones

    kinds, backbones = list_kinds(), list_backbones(pattern)
    if as_json:
        console.print_json({"temporal": kinds, "backbones": backbones})
        return
    if pattern is None:
        console.table(
            "Temporal kinds (model.temporal)",
            ["kind", "options", "about"],
            [list(kind.values()) for kind in kinds],
        )
    rows = [(entry["name"], entry["size"], ", ".join(entry["tags"])) for entry in backbones]
    columns = ["backbone", "pixels", "weights at timm"]
    console.table("Backbones (model.backbone)", columns, rows)


def info(
    name: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE",
            help="A shipped recipe, or a recipe's file.",
            autocompletion=complete_recipe,
        ),
    ],
    overrides: Overrides = None,
    views: Annotated[
        str | None, typer.Option(help="CLIPSxCROPS, as in 10x3; by default the recipe's own.")
    ] = None,
    classes: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=N",
            help="Classes of a dataset without shards, as in ucf101=101 (repeatable).",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show what a recipe's model costs: parameters, multiply-adds of a view and of all, memory.

    Multiply-adds are counted as in TimeSformer, CoVeR and AM Flow, and without the products of
    attention as in TokenShift and MSCA. The memory is an estimate: what autograd keeps. Weights
    that are at hand are tried on; nothing is downloaded or computed.

    Examples:
      ivvit model info tokshift-k400 --views 10x3 --classes kinetics400=400
      ivvit model info iv-vit model.backbone=vit_large_patch16_224 --json
    """
    from ivvit_cli.config import load_recipe
    from ivvit_cli.describe import describe
    from ivvit_cli.training.job import job_of
    from shards.stream.views import parse_views

    job = job_of(load_recipe(name, overrides or []))
    counts = dict(_count(text, list(job.data)) for text in classes or [])
    document = describe(job, parse_views(views or job.eval["views"]), counts)
    if as_json:
        console.print_json({"recipe": name, **document})
        return
    _print_parameters(name, document)
    _print_cost(document)
    _print_weights("Weights", document["weights"])
    for part, weights in document["parts"].items():
        _print_weights(f"Part {part}", weights)
    console.say(
        "linear: without the products of attention, as TokShift and MSCA count; "
        "TimeSformer, CoVeR and AM Flow count all"
    )


def _count(text: str, datasets: list[str]) -> tuple[str, int]:
    name, _, number = text.partition("=")
    if name not in datasets:
        known = ", ".join(datasets)
        raise UsageError(f"--classes {text}: no dataset {name}", hint=f"it has {known}")
    if not number.isdecimal() or int(number) < 1:
        raise UsageError(f"--classes {text}: not of the form NAME=N")
    return name, int(number)


def _print_parameters(name: str, document: dict[str, Any]) -> None:
    parameters, kind = document["parameters"], document["temporal"]["kind"]
    rows = [
        (part, f"{count['total']:,}", f"{count['trainable']:,}")
        for part, count in parameters["parts"].items()
    ]
    unknown = parameters["without_head"]
    rows += [(f"head {head}", f"unknown: --classes {head}=N", "") for head in unknown]
    every = "all but unknown heads" if unknown else "all"
    rows.append((every, f"{parameters['total']:,}", f"{parameters['trainable']:,}"))
    title = f"{name}: {document['backbone']}, {kind}, {document['size']} px"
    console.table(title, ["part", "parameters", "trained"], rows)


def _print_cost(document: dict[str, Any]) -> None:
    costs, views = document["datasets"], document["views"]
    rows = [
        (
            name,
            "image" if cost["frames"] is None else f"{cost['frames']} frames",
            f"{cost['multiply_adds'] / 1e9:.4g}",
            f"{cost['multiply_adds_without_attention'] / 1e9:.4g}",
            cost["views"],
            f"{cost['multiply_adds_of_views'] / 1e12:.3g}",
            f"{cost['multiply_adds_of_views_without_attention'] / 1e12:.3g}",
        )
        for name, cost in costs.items()
    ]
    columns = ["dataset", "input", "GMAC/view", "linear", "views", "TMAC", "linear"]
    console.table(f"Multiply-adds at {views}", columns, rows)
    memory = [
        (
            name,
            _size(cost["activation_bytes"]),
            cost["batch"],
            _size(cost["step_bytes"] + document["state_bytes"]),
        )
        for name, cost in costs.items()
    ]
    state = f"weights, gradients and moments take {_size(document['state_bytes'])}"
    columns = ["dataset", "memory/sample", "batch", "with weights"]
    console.table(f"Memory of a training step, estimated; {state}", columns, memory)


def _print_weights(what: str, weights: dict[str, Any]) -> None:
    first, *rest = weights["report"]
    console.print_text("\n".join(map(console.clean, (f"{what}: {first}", *rest))))


def _size(count: int) -> str:
    return f"{count / 1e6:.3g} MB" if count < 1e9 else f"{count / 1e9:.3g} GB"


def import_(
    source: Annotated[
        str, typer.Argument(help="timm:NAME, hf:OWNER/REPO, a file, a folder or a run.")
    ],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="FILE", help="A .safetensors file.")],
    recipe: Annotated[
        str | None,
        typer.Option(
            "--model",
            metavar="RECIPE",
            help="Fit them to its model.",
            autocompletion=complete_recipe,
        ),
    ] = None,
    backbone: Annotated[
        str | None, typer.Option(metavar="NAME", help="Fit them to this backbone, frame by frame.")
    ] = None,
    head: Annotated[
        str | None, typer.Option(metavar="NAME", help="Keep the classifier, under this name.")
    ] = None,
    overrides: Overrides = None,
    as_json: Json = False,
) -> None:
    """Write weights of others to a file that a recipe's `model.weights` takes.

    With --model or --backbone, what does not fit is refused here, and embeddings are resampled;
    without, every tensor is kept as it is. The file notes its source, its sha256, and what was
    taken. A classifier is kept when its classes are known, or with --head.

    Examples:
      ivvit model import TimeSformer_divST_8x32_224_K400.pyth -o ts.safetensors --head kinetics400
      ivvit model import hf:google/vit-base-patch16-224 -o vit.safetensors --model iv-vit
      ivvit model import ViT-B_16.npz -o vit.safetensors --backbone vit_base_patch16_224
    """
    from ivvit_cli.models.weights.convert import convert_weights

    model = _model(recipe, backbone, overrides or [])
    encoder = None if model is None else model.encoder
    done = convert_weights(source, out, encoder=encoder, head=head)
    if as_json:
        console.print_json({"file": str(done.path), "tensors": done.tensors, **done.note})
        return
    rows: list[tuple[str, object]] = [("file", done.path), ("tensors", done.tensors)]
    for title in ("source", "importer", "sha256", "resized", "missing", "unused"):
        value = done.note[title]
        rows.append((title, value if isinstance(value, str) else ", ".join(value) or "none"))
    heads = [f"{name or 'the only head'}: {len(c)}" for name, c in done.note["classes"].items()]
    rows.append(("classes", ", ".join(heads) or "unknown"))
    console.table("Weights", ["what", "value"], rows)
    console.next_step(
        shlex.join(["ivvit", "train", "--recipe", recipe or "RECIPE", f"model.weights={out}"])
    )


def _model(recipe: str | None, backbone: str | None, overrides: list[str]) -> "JointModel | None":
    if recipe and backbone:
        raise UsageError("--model and --backbone both say what the weights have to fit")
    if overrides and not recipe:
        raise UsageError(f"{overrides[0]}: changes a recipe", hint="with --model RECIPE")
    if not recipe and not backbone:
        return None
    import torch

    from ivvit_cli.config import load_recipe
    from ivvit_cli.models import build_model

    section: dict[str, Any] = {"backbone": backbone}
    if recipe:
        section = load_recipe(recipe, overrides).model_dump()["model"]
    with torch.device("meta"):
        return build_model(section, {"none": 1})
