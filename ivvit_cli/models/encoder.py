"""The encoder: a ViT on every frame, a mean over time.

Where frames meet before the mean is the matter of `temporal`. A kind changes as little as it needs:
it replaces blocks by a `TemporalBlock`, or overrides `embed` (other tokens for clips), `read_out`
(other or more features) or `derive` (how it starts from a plain ViT's weights).
"""

from collections.abc import Mapping, Sequence

from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ivvit_cli.models.clip_stem import ClipStem
from ivvit_cli.models.heads import Voting
from ivvit_cli.models.lora import fresh_updates


class TemporalBlock(nn.Module):
    """A transformer block that knows which of its tokens are of one clip.

    Its `forward(x, frames)` maps tokens, as the encoder's `embed` lays them out, to tokens of the
    same shape. `frames` is T, or None for images, which have no neighbours in time.
    """


class Encoder(nn.Module):
    """Images or clips to features, frame by frame (IV-ViT Eq. 5).

    Attributes:
        vit: timm's model; this class runs its parts in the order of timm's own forward.
        feature_dims: the widths of the features that `forward` returns.
        vote: how a head makes one of its features' logits.
        batch_norm: whether a head normalises its features over the batch.
        by_dataset: whether features depend on the dataset, not on the input alone.
        idle: whether, with a single dataset, an update may leave parameters without gradient.
        clip_stem: the embeddings of clips, where these have their own.
    """

    def __init__(self, vit: VisionTransformer) -> None:
        super().__init__()
        self.vit = vit
        self.feature_dims: tuple[int, ...] = (vit.num_features,)
        self.vote: Voting = "mean"
        self.batch_norm = False
        self.by_dataset = False
        self.idle = False
        self.clip_stem: ClipStem | None = None

    def own(self, datasets: Sequence[str]) -> None:
        """Make what this kind has for these datasets, before anything else is asked of it."""

    def stages(self) -> list[nn.Module]:
        """Return the modules that are compiled, each for itself."""
        return list(self.vit.blocks)

    def forward(self, x: Tensor, dataset: str) -> tuple[Tensor, ...]:
        """Encode images (B, 3, H, W) or clips (B, T, 3, H, W) into features (B, D_i).

        A clip of one frame has no neighbours in time, so it is encoded as an image.
        `dataset` is for kinds that own parameters per dataset.
        """
        if x.ndim == 5 and x.shape[1] == 1:
            x = x.squeeze(1)
        frames = x.shape[1] if x.ndim == 5 else None
        tokens = self.embed(x)
        for block in self.vit.blocks:
            tokens = self.run_block(block, tokens, frames)
        return self.read_out(tokens, frames)

    def embed(self, x: Tensor) -> Tensor:
        """Turn images (B, 3, H, W) or clips (B, T, 3, H, W) into tokens (B*T, N, D)."""
        is_clip = x.ndim == 5
        if is_clip:
            x = x.flatten(0, 1)  # (B*T, 3, H, W)
        if is_clip and self.clip_stem is not None:
            x = self.clip_stem(x, self.vit)
        else:
            x = self.vit._pos_embed(self.vit.patch_embed(x))  # (B*T, N, D)
        tokens: Tensor = self.vit.norm_pre(self.vit.patch_drop(x))
        return tokens

    def read_out(self, tokens: Tensor, frames: int | None) -> tuple[Tensor, ...]:
        """Pool tokens (B*T, N, D) as timm's head does, then take the mean over time: (B, D)."""
        tokens = self.vit.norm(tokens)
        pooled: Tensor = self.vit.forward_head(tokens, pre_logits=True)  # (B*T, D)
        if frames is None:
            return (pooled,)
        return (pooled.view(-1, frames, pooled.shape[-1]).mean(1),)

    def separate(self, parts: Sequence[str]) -> None:
        """Give clips their own embeddings of `parts`, which start as copies (`ClipStem`).

        Raises:
            UsageError: this ViT, or this kind, cannot have them apart.
        """
        self.clip_stem = ClipStem(self.vit, parts)
        self.idle = True  # images have no use of it, nor clips of the parts that it replaces

    def derive(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return how this kind starts what a source of weights lacks, by the names in the model.

        Args:
            state: what was taken of the source, fitted, and the rest of it, by those names.
        """
        fresh = fresh_updates(self, "encoder.")
        if self.clip_stem is None:
            return fresh
        return fresh | self.clip_stem.derive(state, "encoder.clip_stem.")

    def run_block(self, block: nn.Module, tokens: Tensor, frames: int | None) -> Tensor:
        """Pass tokens through one block; activation checkpointing keeps no more than `tokens`."""
        args = (tokens, frames) if isinstance(block, TemporalBlock) else (tokens,)
        if self.vit.grad_checkpointing and self.training:
            out: Tensor = checkpoint(block, *args, use_reentrant=False)
        else:
            out = block(*args)
        return out
