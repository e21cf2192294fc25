"""TimeSformer: attention over time and space, divided or joint, and over space alone.

Bertasius et al., Is Space-Time Attention All You Need for Video Understanding?, ICML 2021.
CoVeR (Zhang et al., 2021) trains its divided form on images as well, as clips of one frame
(Appendix A). What the paper leaves open follows the released code.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from ivvit_cli.errors import UsageError
from ivvit_cli.models.encoder import Encoder
from ivvit_cli.models.temporal.adopted import check_attention
from ivvit_cli.models.temporal.divided import DividedBlock


def divided(vit: VisionTransformer, *, frames: int = 8) -> Encoder:
    """Give every block of a ViT an attention over time before its attention over space.

    Args:
        vit: a ViT whose blocks have one attention and one MLP branch.
        frames: how many embeddings of time there are; clips of another length take the nearest.

    Raises:
        UsageError: the ViT is of another make.
    """
    _check("divided", vit, frames)
    blocks = [DividedBlock(block, vit.num_prefix_tokens) for block in vit.blocks]
    for block in blocks[1:]:  # the code's choice: the first block alone starts with a random layer
        nn.init.zeros_(block.temporal_fc.weight)
    vit.blocks = nn.Sequential(*blocks)
    encoder = DividedEncoder(vit, frames)
    # Over one frame the weights of attention are 1, whatever queries and keys are.
    encoder.idle = any(True for block in blocks for _ in block.temporal_attn.q_norm.parameters())
    return encoder


def joint(vit: VisionTransformer, *, frames: int = 8) -> Encoder:
    """Let every token of a clip attend to every other; see `divided`."""
    _check("joint", vit, frames)
    return SpaceTimeEncoder(vit, frames)


def space_only(vit: VisionTransformer) -> Encoder:
    """Encode frames apart, and take the mean over time before the last norm."""
    return SpaceOnlyEncoder(vit)


class SpaceTimeEncoder(Encoder):
    """A ViT on all tokens of a clip, whose patches know their time.

    An image is a clip of one frame, at the first embedding of time.

    Attributes:
        time_embed: (1, frames, D), added to patches (not to class tokens or registers).
    """

    def __init__(self, vit: VisionTransformer, frames: int) -> None:
        super().__init__(vit)
        self.time_embed = nn.Parameter(torch.zeros(1, frames, vit.embed_dim))

    def embed(self, x: Tensor) -> Tensor:
        """Turn images (B, 3, H, W) or clips (B, T, 3, H, W) into tokens (B, P + T*N, D).

        The P prefix tokens come first, then the patches, frame by frame.
        """
        frames, prefix = x.shape[1] if x.ndim == 5 else 1, self.vit.num_prefix_tokens
        tokens = super().embed(x)  # (B*T, P + N, D)
        tokens = tokens.view(-1, frames, *tokens.shape[1:])  # (B, T, P + N, D)
        time = nearest_frames(self.time_embed, frames)[:, :, None]  # (1, T, 1, D)
        patches = tokens[:, :, prefix:] + time
        return torch.cat((tokens[:, 0, :prefix], patches.flatten(1, 2)), dim=1)

    def read_out(self, tokens: Tensor, frames: int | None) -> tuple[Tensor, ...]:
        """Pool tokens (B, P + T*N, D) as timm's head does: (B, D)."""
        return (self.vit.forward_head(self.vit.norm(tokens), pre_logits=True),)

    def derive(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Keep the fresh embeddings of time where the source has none."""
        return super().derive(state) | {"encoder.time_embed": self.time_embed.detach()}


class DividedEncoder(SpaceTimeEncoder):
    """The encoder of `divided`; its tokens lie frame by frame, as `DividedBlock` takes them."""

    def embed(self, x: Tensor) -> Tensor:
        """Turn images (B, 3, H, W) or clips (B, T, 3, H, W) into tokens (B*T, P + N, D)."""
        frames, prefix = x.shape[1] if x.ndim == 5 else 1, self.vit.num_prefix_tokens
        tokens = Encoder.embed(self, x)
        time = nearest_frames(self.time_embed, frames)[:, :, None]  # (1, T, 1, D)
        time = time.expand(-1, -1, tokens.shape[1] - prefix, -1)
        clips = tokens.view(-1, frames, *tokens.shape[1:])  # (B, T, P + N, D)
        return (clips + F.pad(time, (0, 0, prefix, 0))).flatten(0, 1)

    def read_out(self, tokens: Tensor, frames: int | None) -> tuple[Tensor, ...]:
        """Pool tokens (B*T, P + N, D) as timm's head does: (B, D)."""
        prefix = self.vit.num_prefix_tokens
        clips = tokens.view(-1, frames or 1, *tokens.shape[1:])
        wanted = [clips[:, 0, :prefix]]
        if self.vit.global_pool != "token":
            wanted.append(clips[:, :, prefix:].flatten(1, 2))
        return super().read_out(torch.cat(wanted, dim=1), frames)

    def derive(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Start attention over time as a copy of a plain ViT's attention over space."""
        derived = super().derive(state)
        if any(".temporal_" in name for name in state):
            return derived
        for name, own in self.state_dict(prefix="encoder.").items():
            if ".temporal_fc." in name:
                derived[name] = own
            elif ".temporal_" in name and (spatial := name.replace("temporal_", "")) in state:
                derived[name] = state[spatial]
        return derived


class SpaceOnlyEncoder(Encoder):
    """The encoder of `space_only`."""

    def read_out(self, tokens: Tensor, frames: int | None) -> tuple[Tensor, ...]:
        """Take the mean over time of tokens (B*T, N, D), then pool them: (B, D)."""
        clips = tokens.view(-1, frames or 1, *tokens.shape[1:])  # (B, T, N, D)
        return (self.vit.forward_head(self.vit.norm(clips.mean(1)), pre_logits=True),)


def nearest_frames(embeddings: Tensor, frames: int) -> Tensor:
    """Resample embeddings of time (1, F, D) to (1, `frames`, D), each the nearest before it."""
    count = embeddings.shape[1]
    if count == frames:
        return embeddings
    return embeddings[:, torch.arange(frames, device=embeddings.device) * count // frames]


def _check(kind: str, vit: VisionTransformer, frames: int) -> None:
    check_attention(vit, kind)
    if frames < 1:
        raise UsageError(f"temporal {kind}: frames must be at least 1, not {frames}")
