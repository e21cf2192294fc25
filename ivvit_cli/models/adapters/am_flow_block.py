"""One block of AM Flow's model: a ViT's, with adapters across its two branches."""

from collections.abc import Mapping

from timm.models.vision_transformer import Block
from torch import Tensor, nn

from ivvit_cli.models.adapters.adapt import AdapterWeights, Placement, adapt
from ivvit_cli.models.attention import LeanAttention
from ivvit_cli.models.temporal.am_flow import AmFlow


class AmFlowBlock(nn.Module):
    """What runs one of timm's blocks with adapters across its two branches.

    Args:
        flow: of the adapter across attention, if it is fed with one.
        placement: `parallel`, from the branch's input, which is the block's before its LayerNorm,
            to the sum; or `serial`, after the branch.

    Attributes:
        channels: C of the flow, 0 without.
    """

    def __init__(self, flow: AmFlow | None, placement: Placement) -> None:
        super().__init__()
        self.flow, self.placement = flow, placement
        self.channels = flow.channels if flow else 0

    def forward(
        self, block: Block, x: Tensor, frames: int | None, weights: Mapping[str, AdapterWeights]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Map tokens (B*T, N, D) to such and to either adapter's embeddings (B*T, N, hidden)."""
        x, branch, flow = self._attend(block, x, frames)
        x, first = self._add(x, branch, weights["attn"], flow)
        branch = block.drop_path2(block.ls2(block.mlp(block.norm2(x))))
        x, second = self._add(x, branch, weights["mlp"], None)
        return x, first, second

    def _attend(
        self, block: Block, x: Tensor, frames: int | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return what attention is added to, its branch, and the flow of its maps."""
        normed = block.norm1(x)
        attn: LeanAttention = block.attn
        q, k, v = attn.split(attn.qkv(normed))
        q, k = attn.q_norm(q), attn.k_norm(k)
        branch = block.drop_path1(block.ls1(attn.finish(attn.attend(q, k, v), normed)))
        return x, branch, self.flow(q, k, frames, attn.scale) if self.flow else None

    def _add(
        self, x: Tensor, branch: Tensor, weights: AdapterWeights, flow: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Return x with a branch and its adapter added, and the adapter's embedding."""
        still = self.flow.options.still if self.flow else 0.0
        source = x if self.placement == "parallel" else branch
        embedding, change = adapt(weights, source, flow, still=still)
        return x + branch + change, embedding
