"""The plan of a run as tables."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from ivvit_cli import console

_GIB = 2**30
_PARTS = ("weights", "gradients", "moments", "average", "exchange", "activations", "total")


def print_plan(plan: Mapping[str, Any]) -> None:
    """Print what `Session.plan` returns."""
    rest = dict(plan)
    datasets, weights = rest.pop("datasets"), rest.pop("weights", None)
    memory, time = rest.pop("memory"), rest.pop("time")
    columns = [name.replace("_", " ") for name in ("dataset", *next(iter(datasets.values())))]
    console.table("Datasets", columns, [[name, *row.values()] for name, row in datasets.items()])
    rows = rest | {
        "effective_batch": _batch(memory),
        "time": _time(time, memory["gpus"]),
        f"to_fit_{_size(memory['bytes'])}": _advice(memory),
        **({"weights": weights["state"]} if weights else {}),
    }
    console.table(
        "Training", ["what", "value"], [[name, f"{value}"] for name, value in rows.items()]
    )
    title = f"Memory of each GPU ({memory['gpus']}), estimated, GiB"
    size = _size(memory["bytes"]).replace("_", " ")
    columns = ["parallel", "recompute", *_PARTS, f"fits {size} with"]
    lines = list(map(_layout, memory["layouts"]))
    if console.out.is_terminal:  # which is seldom wide enough for a column of each part
        columns, *lines = map(list, zip(columns, *lines, strict=True))
    console.table(title, columns, lines)


def _size(memory: int | None) -> str:
    return "a_GPU" if memory is None else f"{memory / _GIB:.4g}GiB"


def _batch(memory: Mapping[str, Any]) -> str:
    """Say of each dataset what an update has, and how that is cut."""
    cut = f"{memory['gpus']} GPU{'s' if memory['gpus'] > 1 else ''} x {memory['accumulate']}"
    return ", ".join(
        f"{name} {count['update']} ({cut} x up to {count['micro_batch']})"
        for name, count in memory["effective_batch"].items()
    )


def _time(time: Mapping[str, Any], gpus: int) -> str:
    speed = f"at {time['tflops_per_gpu']:.4g} TFLOP/s per GPU in {time['precision']}"
    speed += f" ({time['tflops_source']})"
    if time["seconds"] is None:
        each = ", ".join(
            f"{name} {flops / 1e12:.4g}" for name, flops in time["flops_per_sample"].items()
        )
        return f"TFLOPs per sample: {each}; {speed}; the whole, when there are shards"
    length = timedelta(seconds=round(time["seconds"])) or "less than a second"
    return f"{length} on {gpus} GPU{'s' if gpus > 1 else ''}, {time['flops']:.3g} FLOPs {speed}"


def _advice(memory: Mapping[str, Any]) -> str:
    if memory["bytes"] is None:
        return "say how large one is: --memory 80GiB"
    if memory["advice"] is None:
        return "nothing does: more GPUs (--gpus) with train.parallel=fsdp, or a smaller model"
    return " ".join(memory["advice"]) or "nothing need change"


def _layout(layout: Mapping[str, Any]) -> list[str]:
    parts = [f"{layout['bytes'][part] / _GIB:.2f}" for part in _PARTS]
    recompute = "yes" if layout["activation_checkpointing"] else "no"
    return [layout["parallel"], recompute, *parts, _fits(layout["fits"])]


def _fits(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return "-"
    most = max(found["micro_batch"].values())
    return f"accumulate={found['accumulate']} ({most} at once, {found['total'] / _GIB:.1f})"
