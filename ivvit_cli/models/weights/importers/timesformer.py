"""TimeSformer's own files (.pyth), divided or joint; its space-only form has timm's names."""

from ivvit_cli.models.weights.importers.naming import Given, Importer, State, place


def matches(state: Given) -> bool:
    """Tell it by its embeddings of time beside timm's names."""
    return "blocks.0.norm1.weight" in state and "time_embed" in state


def convert(state: Given) -> State:
    """Take its embeddings of time out of the ViT."""
    placed = place(state)
    placed["encoder.time_embed"] = placed.pop("encoder.vit.time_embed")
    return placed


IMPORTER = Importer(matches, convert)
