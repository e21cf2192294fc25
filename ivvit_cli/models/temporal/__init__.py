"""How frames meet: one paper idea per file, each a function from a ViT to an encoder."""

import difflib
import inspect
from collections.abc import Callable
from typing import Any

from timm.models.vision_transformer import VisionTransformer

from ivvit_cli.errors import UsageError
from ivvit_cli.models.adapters.adaptformer import adaptformer
from ivvit_cli.models.adapters.am_flow import am_flow
from ivvit_cli.models.adapters.st_adapter import st_adapter
from ivvit_cli.models.encoder import Encoder
from ivvit_cli.models.temporal.msca import msca
from ivvit_cli.models.temporal.timesformer import divided, joint, space_only
from ivvit_cli.models.temporal.token_shift import token_shift
from ivvit_cli.models.temporal.tubelet import tubelet

KINDS: dict[str, Callable[..., Encoder]] = {
    "none": Encoder,
    "token_shift": token_shift,
    "msca": msca,
    "divided": divided,
    "joint": joint,
    "space_only": space_only,
    "tubelet": tubelet,
    "am_flow": am_flow,
    "st_adapter": st_adapter,
    "adaptformer": adaptformer,
}


def make_encoder(vit: VisionTransformer, kind: str, **options: Any) -> Encoder:
    """Build the encoder of a kind around a ViT.

    Raises:
        UsageError: there is no such kind, it has no such option, or it cannot work on this ViT.
    """
    if kind not in KINDS:
        close = difflib.get_close_matches(kind, KINDS, n=1)
        hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(KINDS)}"
        raise UsageError(f"temporal: unknown kind {kind}", hint=hint)
    try:
        inspect.signature(KINDS[kind]).bind(vit, **options)
    except TypeError as error:
        raise UsageError(f"temporal {kind}: {error}") from None
    return KINDS[kind](vit, **options)
