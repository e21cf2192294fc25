"""The joint model: one encoder, one head per dataset."""

import difflib
from collections.abc import Mapping
from typing import Any, Self

from torch import Tensor, nn

from ivvit_cli.errors import UsageError
from ivvit_cli.models.backbone import InputSpec, create_vit, input_spec
from ivvit_cli.models.encoder import Encoder
from ivvit_cli.models.freezing import freeze, frozen_modules
from ivvit_cli.models.heads import Head, head_key
from ivvit_cli.models.lora import add_lora
from ivvit_cli.models.temporal import make_encoder

_KEYS = (
    "backbone",
    "backbone_args",
    "freeze",
    "head",
    "lora",
    "parts",
    "separate",
    "temporal",
    "weights",
)


class JointModel(nn.Module):
    """A shared encoder and a head per dataset (IV-ViT 3.1).

    Attributes:
        encoder: images or clips to features.
        heads: one `Head` per dataset, under `head_key(dataset)`.
        input: what the backbone is fed.
    """

    def __init__(self, encoder: Encoder, heads: Mapping[str, int], spec: InputSpec) -> None:
        super().__init__()
        self.encoder = encoder
        self.heads = nn.ModuleDict(
            {
                head_key(name): Head(
                    encoder.feature_dims,
                    classes,
                    encoder.vote,
                    batch_norm=encoder.batch_norm,
                )
                for name, classes in heads.items()
            }
        )
        self.input = spec

    def forward(self, x: Tensor, dataset: str) -> Tensor:
        """Return logits (B, C) for normalised images (B, 3, H, W) or clips (B, T, 3, H, W)."""
        logits: Tensor = self.heads[head_key(dataset)](self.encoder(x, dataset))
        return logits

    def train(self, mode: bool = True) -> Self:
        """Switch to training, or not; what is frozen never drops anything out."""
        super().train(mode)
        for frozen in frozen_modules(self):
            for module in frozen.modules():
                # cuDNN lets gradients through an LSTM in training mode alone; ours drop nothing.
                module.training = mode and isinstance(module, nn.RNNBase)
        return self


def build_model(model: Mapping[str, Any], heads: Mapping[str, int]) -> JointModel:
    """Build a model with fresh weights.

    Args:
        model: a recipe's `model:` section as plain values: `backbone` (a timm ViT), perhaps
            `backbone_args`, `temporal` (`{kind: ..., its options}`), `separate` (what clips have
            for themselves of the embeddings `patch`, `pos` and `cls`), `freeze` (what is not
            trained, see `freezing.freeze`) and `lora` (the options of `add_lora`). `weights`,
            `head` and `parts` are left to `load_weights` and `load_parts`.
        heads: the number of classes of each dataset.

    Raises:
        UsageError: a key, the backbone, its arguments or the temporal kind do not exist.
        EnvironmentFault: LoRA needs a package that is not installed.
    """
    _check_keys(model)
    vit = create_vit(model["backbone"], model.get("backbone_args") or {})
    encoder = make_encoder(vit, **(model.get("temporal") or {"kind": "none"}))
    encoder.own(list(heads))
    if model.get("separate"):
        encoder.separate(model["separate"])
    joint = JointModel(encoder, heads, input_spec(vit))
    freeze(joint, model.get("freeze") or ())
    if (lora := model.get("lora")) is not None:
        add_lora(vit, **lora)
    return joint


def _check_keys(model: Mapping[str, Any]) -> None:
    if "backbone" not in model:
        raise UsageError("model: needs a `backbone`")
    for key in sorted(set(model) - set(_KEYS)):
        close = difflib.get_close_matches(key, _KEYS, n=1)
        raise UsageError(
            f"model: unknown key {key}",
            hint=f"did you mean {close[0]}?" if close else f"known: {', '.join(_KEYS)}",
        )
