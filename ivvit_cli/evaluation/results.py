"""What an evaluation leaves on the disk: the figures, their protocol, and every score."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ivvit_cli.evaluation.metrics import Scores
from ivvit_cli.evaluation.statistics import calibration_error, wilson
from shards.files import write_atomically

METRICS_FILE = "metrics.json"
PER_CLASS_FILE = "per_class.csv"
SCORES_FILE = "scores.npz"

_CONFUSIONS = 20  # pairs of classes that metrics.json names


def write_results(
    folder: Path, scores: Scores, *, classes: Sequence[str], protocol: Mapping[str, Any]
) -> None:
    """Write `per_class.csv`, `scores.npz` and, last, `metrics.json`, each of them atomically.

    Args:
        folder: where; it is made when absent.
        scores: the result.
        classes: class names in label order.
        protocol: what the figures hold for (checkpoint, views, clip, size, …), as plain values.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / PER_CLASS_FILE, _per_class(scores, classes))
    write_atomically(folder / SCORES_FILE, _arrays(scores))
    document = {
        **figures(scores),
        **uncertainty(scores, str(protocol["average"])),
        "undefined": scores.undefined,
        "confused": [
            {"class": classes[pair.label], "as": classes[pair.taken_for], "samples": pair.samples}
            for pair in scores.confusions(_CONFUSIONS)
        ],
        "protocol": dict(protocol),
    }
    text = json.dumps(document, indent=1, ensure_ascii=False)
    write_atomically(folder / METRICS_FILE, (text + "\n").encode())


def figures(scores: Scores) -> dict[str, int | float]:
    """Return the sample count and the accuracies in percent, as JSON documents hold them."""
    return {
        "samples": len(scores.labels),
        "top1": scores.top1,
        "top5": scores.top5,
        "mean_class": scores.mean_class,
    }


def uncertainty(scores: Scores, average: str) -> dict[str, Any]:
    """Return the 95 % intervals of the accuracies and the calibration error, all in percent.

    Scores that are not finite have no calibration error.

    Args:
        average: what the scores are: `logits` or `probabilities`.
    """
    samples = len(scores.labels)
    finite = bool(np.isfinite(scores.scores).all())
    shares = scores.scores if average == "probabilities" or not finite else softmax(scores.scores)
    return {
        "top1_interval": list(wilson(scores.correct(1), samples)),
        "top5_interval": list(wilson(scores.correct(5), samples)),
        "calibration_error": calibration_error(shares, scores.labels) if finite else None,
    }


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the probabilities of logits (S, C)."""
    powers = np.exp(logits - logits.max(1, keepdims=True))
    shares: NDArray[np.float32] = powers / powers.sum(1, keepdims=True)
    return shares


def _per_class(scores: Scores, classes: Sequence[str]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["label", "class", "samples", "top1_correct", "top5_correct", "top1"])
    for count in scores.per_class():
        share = f"{100 * count.top1 / count.samples:.4f}" if count.samples else ""
        name = classes[count.label]
        writer.writerow([count.label, name, count.samples, count.top1, count.top5, share])
    return text.getvalue().encode()


def _arrays(scores: Scores) -> bytes:
    file = io.BytesIO()
    keys = np.array(scores.keys, dtype=np.str_)  # text, not objects: loads without pickle
    np.savez(file, scores=scores.scores, labels=scores.labels, keys=keys)
    return file.getvalue()
