"""The measurements as JSON and as Markdown tables."""

import json
import platform
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import timm
import torch

ROUNDS = "times: median [least, most] of paired rounds, forward and backward"
COLUMNS = {
    "what": "",
    "batch": "clips per step",
    "clips_per_second": "clips/s",
    "tflops": "TFLOP/s",
    "share_of_ceiling": "of the ceiling",
    "data_wait": "waits for data",
    "peak_gb": "GB at most",
}


def surroundings(device: torch.device) -> dict[str, Any]:
    """Return where it was measured, and with what."""
    on_gpu = device.type == "cuda"
    return {
        "date": date.today().isoformat(),
        "device": torch.cuda.get_device_name(device) if on_gpu else platform.processor() or "CPU",
        "is_gpu": on_gpu,
        "precision": "bf16 autocast" if on_gpu else "float32",
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "timm": timm.__version__,
        "python": platform.python_version(),
    }


def markdown(document: Mapping[str, Any]) -> str:
    """Return a document of `python -m bench.gpu` as a page."""
    place = document["surroundings"]
    lines = [
        f"# ViT-B/16 and TimeSformer-B on {place['device']}, {place['date']}",
        "",
        f"`make bench-gpu`, {document['seconds']:.0f} seconds; {place['precision']}, torch "
        f"{place['torch']}, timm {place['timm']}. The ceiling, a product of matrices in the same "
        f"run: {document['ceiling']:.1f} TFLOP/s. Videos are synthetic, "
        f"{document['kb_per_frame']:.0f} KB per frame.",
    ]
    if not place["is_gpu"]:
        lines += ["", "This ran on no GPU: it shows that the benchmark works, and nothing more."]
    lines += ["", *_table(list(COLUMNS.values()), [_cells(row) for row in document["rows"]])]
    ratios = [
        [row["what"] + (", compiled" if row.get("compiled") else ""), _ratio(row)]
        for row in document["ratios"]
    ]
    lines += ["", *_table(["", ROUNDS], ratios)]
    lines += ["", *(f"- not measured: {reason}" for reason in document["skipped"])]
    return "\n".join(lines).rstrip() + "\n"


def _cells(row: Mapping[str, Any]) -> list[str]:
    forms = {"clips_per_second": ".1f", "tflops": ".1f", "peak_gb": ".1f"}
    forms |= {"share_of_ceiling": ".1%", "data_wait": ".1%"}
    values = ((key, row.get(key)) for key in COLUMNS)
    return ["" if value is None else format(value, forms.get(key, "")) for key, value in values]


def _ratio(row: Mapping[str, Any]) -> str:
    return f"{row['ratio']:.3f} [{row['least']:.3f}, {row['most']:.3f}]"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    rule = ["---", *["--:"] * (len(header) - 1)]
    return [f"| {' | '.join(cells)} |" for cells in (header, rule, *rows)]


def write(document: Mapping[str, Any], folder: Path, name: str) -> list[Path]:
    """Write NAME.json and NAME.md."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.json", folder / f"{name}.md"]
    paths[0].write_text(json.dumps(document, indent=2) + "\n")
    paths[1].write_text(markdown(document))
    return paths
