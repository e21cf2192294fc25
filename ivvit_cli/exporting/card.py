"""A model's card, README.md of its folder: what it is, what it was trained on, how to run it."""

import json
from pathlib import Path

from ivvit_cli.evaluation.protocol import Protocol
from ivvit_cli.exporting.origin import describe_start
from ivvit_cli.meta import HeadMeta, Meta
from shards.stream.views import parse_views

_IMAGE = """\
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForImageClassification
here = "."  # this folder, or its name at the hub
model = AutoModelForImageClassification.from_pretrained(here)
pixels = AutoImageProcessor.from_pretrained(here)(Image.open("photo.jpg"), return_tensors="pt")
print(model.config.id2label[model(**pixels).logits.argmax(-1).item()])
"""
_FRAMES = """\
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForImageClassification
here = "."  # this folder, or its name at the hub
model = AutoModelForImageClassification.from_pretrained(here)
frames = [Image.open(f"frame-{t}.jpg") for t in range(FRAMES)]  # of one video
pixels = AutoImageProcessor.from_pretrained(here)(frames, return_tensors="pt")
print(model.config.id2label[model(**pixels).logits.mean(0).argmax().item()])
"""
_VIDEO = """\
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForVideoClassification
here = "."  # this folder, or its name at the hub
model = AutoModelForVideoClassification.from_pretrained(here)
frames = [Image.open(f"frame-{t}.jpg") for t in range(FRAMES)]  # of one video
pixels = AutoImageProcessor.from_pretrained(here)(frames, return_tensors="pt")
print(model.config.id2label[model(**pixels).logits.argmax(-1).item()])
"""
_OWN = """\
ivvit predict clip.mp4 photo.jpg --ckpt .                # this folder
ivvit train --recipe RECIPE model.weights=.              # start another model from it
"""


def write_card(meta: Meta, start: str | None, architecture: str, path: Path) -> None:
    """Write the card of a model as it is exported under an architecture of config.json.

    Args:
        start: the source of the weights that training began from.

    Raises:
        OSError: the disk is full or fails.
    """
    path.write_text(_card(meta, start, architecture), encoding="utf-8")


def _card(meta: Meta, start: str | None, architecture: str) -> str:
    kind = (meta.model.get("temporal") or {"kind": "none"})["kind"]
    names = ", ".join(meta.heads)
    return "\n".join(
        (
            *_front_matter(meta, architecture),
            f"# {meta.model['backbone']} on {names}",
            "",
            f"A Vision Transformer (temporal kind `{kind}`), trained with ivvit {meta.ivvit} for "
            f"{meta.iteration} iterations, from {describe_start(start)}.",
            "",
            "| dataset | kind | classes | input | top-1 % | on |",
            "|---|---|---|---|---|---|",
            *(_row(meta, name, head) for name, head in meta.heads.items()),
            "",
            f"Frames are RGB, their short side resized to {meta.input.size} pixels, of which the "
            f"central square counts; values from 0 to 1, mean {_show(meta.input.mean)}, std "
            f"{_show(meta.input.std)}.",
            "",
            *_usage(meta, architecture),
            "",
            "The licences of the datasets and of the weights at the start hold for this model.",
            "",
        )
    )


def _front_matter(meta: Meta, architecture: str) -> list[str]:
    video = any(head.kind == "video" for head in meta.heads.values())
    return [
        "---",
        f"library_name: {'ivvit' if architecture == 'ivvit' else 'transformers'}",
        f"pipeline_tag: {'video' if video else 'image'}-classification",
        f"datasets: {json.dumps(list(meta.heads))}",
        "tags: [ivvit, vision-transformer]",
        "---",
        "",
    ]


def _row(meta: Meta, name: str, head: HeadMeta) -> str:
    views = parse_views("1x1")
    reading = Protocol(views, head.clip, meta.input.size, meta.eval.average, bf16=False)
    score = meta.metrics.get(name)
    measured = ("", "") if score is None else (f"{score.top1:.2f}", score.protocol)
    cells = (name, head.kind, len(head.classes), str(reading), *measured)
    return f"| {' | '.join(str(cell).replace('|', '/') for cell in cells)} |"


def _usage(meta: Meta, architecture: str) -> list[str]:
    head = next(iter(meta.heads.values()))
    if architecture == "ivvit":
        return ["```bash", *_OWN.splitlines(), "```"]
    if head.clip is None and architecture.startswith("ViT"):
        text = _IMAGE
    else:
        text = _FRAMES if architecture.startswith("ViT") else _VIDEO
    frames = 1 if head.clip is None else head.clip["frames"]
    return ["```python", *text.replace("FRAMES", str(frames)).splitlines(), "```"]


def _show(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:g}" for value in values)
