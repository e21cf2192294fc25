"""Checkpoints of this package, and what `ivvit model import` has written."""

from ivvit_cli.models.weights.importers.naming import Given, Importer, State


def convert(state: Given) -> State:
    """Take every tensor as it is."""
    return dict(state)


IMPORTER = Importer(lambda state: "encoder.vit.blocks.0.norm1.weight" in state, convert)
