"""Weights that others have trained: find them, read them safely, fit them to a model, report."""

from ivvit_cli.models.weights.importers import IMPORTERS, import_state
from ivvit_cli.models.weights.load import load_weights
from ivvit_cli.models.weights.parts import load_parts
from ivvit_cli.models.weights.report import LoadReport
from ivvit_cli.models.weights.source import is_remote

__all__ = [
    "IMPORTERS",
    "LoadReport",
    "import_state",
    "is_remote",
    "load_parts",
    "load_weights",
]
