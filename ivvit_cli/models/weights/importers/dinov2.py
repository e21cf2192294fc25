"""DINOv2's own files where they differ from timm's: with registers, or with SwiGLU (giant)."""

from ivvit_cli.models.weights.importers.naming import Given, Importer, State, place, rename

_SWIGLU = ((r"\.mlp\.w12\.", ".mlp.fc1."), (r"\.mlp\.w3\.", ".mlp.fc2."))


def matches(state: Given) -> bool:
    """Tell them by the names that timm changed."""
    own = "register_tokens" in state or "blocks.0.mlp.w12.weight" in state
    return own and "blocks.0.norm1.weight" in state


def convert(state: Given) -> State:
    """Rename, and embed registers as timm does."""
    return place(embed_registers(rename(state, _SWIGLU), "register_tokens"))


def embed_registers(state: State, name: str) -> State:
    """Name the registers as timm does, whose class token then holds its embedding of place itself.

    Without registers, nothing is changed.
    """
    if name not in state:
        return state
    changed = dict(state)
    own, places = changed["pos_embed"].tensor_split((1,), dim=1)
    changed |= {
        "reg_token": changed.pop(name),
        "cls_token": changed["cls_token"] + own,
        "pos_embed": places,
    }
    return changed


IMPORTER = Importer(matches, convert)
