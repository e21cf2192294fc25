"""Heads: a dataset's features to its logits."""

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from timm.layers import trunc_normal_
from torch import Tensor, nn

from ivvit_cli.errors import UsageError

Voting = Literal["mean", "frozen_random", "learned"]
VOTES = get_args(Voting)


class Head(nn.Module):
    """A linear classifier per feature, whose logits vote (AM Flow 3.2; IV-ViT Eq. 6).

    The logits of a clip's mean feature are the mean of its frames' logits, as in TokenShift.
    Initialised as timm's heads: a normal of std 0.02, truncated, and no bias.

    Args:
        feature_dims: the widths of the features.
        vote: the classifiers' logits count alike (`mean`), or as a linear layer over them says,
            whose weights are `learned` or stay as they are drawn (`frozen_random`).
        batch_norm: whether features are normalised over the batch first, without scale or shift
            (MoCo v3's linear probe; AdaptFormer).
    """

    def __init__(
        self,
        feature_dims: Sequence[int],
        classes: int,
        vote: Voting = "mean",
        *,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        widths = feature_dims if batch_norm else ()
        self.norms = nn.ModuleList(nn.BatchNorm1d(w, eps=1e-6, affine=False) for w in widths)
        self.linears = nn.ModuleList(_linear(width, classes) for width in feature_dims)
        self.vote = None if vote == "mean" else nn.Linear(len(feature_dims), 1)
        if self.vote:
            self.vote.requires_grad_(vote == "learned")

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Map features (B, D_i) to logits (B, C).

        Raises:
            UsageError: a single sample has no statistics to be normalised by in training.
        """
        if self.norms:
            if self.training and len(features[0]) == 1:
                raise UsageError(
                    "a head with batch norm needs 2 samples per process and micro-batch to train",
                    hint="raise the dataset's batch, or lower train.accumulate",
                )
            features = [norm(x) for norm, x in zip(self.norms, features, strict=True)]
        logits = [linear(x) for linear, x in zip(self.linears, features, strict=True)]
        if self.vote:
            voted: Tensor = self.vote(torch.stack(logits, dim=-1))
            return voted.squeeze(-1)
        return torch.stack(logits).mean(0) if len(logits) > 1 else logits[0]


def _linear(width: int, classes: int) -> nn.Linear:
    linear = nn.Linear(width, classes)
    trunc_normal_(linear.weight, std=0.02)
    nn.init.zeros_(linear.bias)
    return linear


def head_key(dataset: str) -> str:
    """Return the name of a dataset's head in `nn.ModuleDict`; `urllib.parse.unquote` undoes it.

    A module's name may neither hold a dot nor be an attribute of `nn.ModuleDict` (`train`,
    `items`), so these are written as in a URL.
    """
    key = dataset.replace("%", "%25").replace(".", "%2E")
    return f"%{ord(key[0]):02X}{key[1:]}" if hasattr(nn.ModuleDict(), key) else key
