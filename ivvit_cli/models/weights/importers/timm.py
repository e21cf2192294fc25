"""timm's VisionTransformer, whose names DeiT, DINOv2, MAE and space-only TimeSformer share."""

from ivvit_cli.models.weights.importers import dinov2, timesformer
from ivvit_cli.models.weights.importers.naming import Given, Importer, State, place


def matches(state: Given) -> bool:
    """Tell timm's names from those of the video models that built upon them."""
    kernel = state.get("patch_embed.proj.weight")
    others = (timesformer.IMPORTER, dinov2.IMPORTER)
    return (
        "blocks.0.norm1.weight" in state
        and (kernel is None or kernel.ndim < 5)
        and not any(other.matches(state) for other in others)
    )


def convert(state: Given) -> State:
    """Put every tensor where the model keeps its ViT."""
    return place(state)


IMPORTER = Importer(matches, convert)
