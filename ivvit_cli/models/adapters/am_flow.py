"""AM Flow's model: adapters fed with motion beside a ViT, whose embeddings go through time.

Agrawal et al., arXiv 2411.02065, Figure 2: in every chosen block an adapter across the attention,
which is fed with AM Flow, and one across the MLP; a temporal unit on the embedding of either; their
logits and those of the last frame's class token vote. The other blocks have plain adapters.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

from ivvit_cli.errors import UsageError
from ivvit_cli.models.adapters.adapt import PLACES, AdapterBank, AdapterWeights, Placement, adapt
from ivvit_cli.models.adapters.banks import adapter_spec, make_bank
from ivvit_cli.models.adapters.encoder import AdaptedEncoder, Additions, Features, Owner
from ivvit_cli.models.adapters.units import TemporalUnit
from ivvit_cli.models.attention import LeanAttention
from ivvit_cli.models.heads import VOTES, Voting
from ivvit_cli.models.temporal.adopted import check_attention
from ivvit_cli.models.temporal.am_flow import AmFlow, make_flow

Section = Mapping[str, Any]


def am_flow(
    vit: VisionTransformer,
    *,
    flow: Section | None = None,
    blocks: Literal["all"] | Sequence[int] = "all",
    adapter: Section | None = None,
    unit: Section | None = None,
    last_frame: bool = True,
    vote: Voting = "mean",
    adapters: Owner = "shared",
) -> AdaptedEncoder:
    """Put AM Flow, adapters and temporal units beside a ViT.

    Args:
        vit: a ViT whose blocks have one attention and one MLP branch.
        flow: `{kind: aligned | vanilla | none, …}`, its options those of `make_flow`.
        blocks: those that have AM Flow and temporal units, counted from 1; the others have plain
            adapters (the paper's AM/2 has 1 and 12).
        adapter: `{kind: plain | hyperformer | compacter, …}`, its options those of `adapter_spec`.
        unit: `{kind: lstm | tcn | transformer | mean, …}`, its options those of `TemporalUnit`.
        last_frame: whether the last frame's class token is an output too. Without, blocks after the
            last of `blocks` have no part in the outputs, and do not run.
        vote: how the outputs' logits become one (`Head`).
        adapters: whether datasets share all this, or each has its own.

    Raises:
        UsageError: the ViT is of another make, or the options make no sense.
    """
    check_attention(vit, "am_flow")
    if vote not in VOTES:
        raise UsageError(f"temporal am_flow: vote is {', '.join(VOTES)}, not {vote}")
    depth = len(vit.blocks)
    chosen = chosen_blocks(blocks, depth)
    spec = adapter_spec(**(adapter or {"kind": "plain"}))
    flow, unit = flow or {"kind": "aligned"}, unit or {"kind": "lstm"}

    def make(datasets: Sequence[str]) -> Additions:
        count = depth if last_frame else max(chosen) + 1
        added = [
            AmFlowBlock(make_flow(vit, **flow) if number in chosen else None, spec.placement)
            for number in range(count)
        ]
        units = [
            [TemporalUnit(spec.hidden, **unit) for _ in PLACES] if number in chosen else []
            for number in range(count)
        ]
        bank = make_bank(spec, vit.embed_dim, [block.channels for block in added], datasets)
        return AmFlowAdditions(added, bank, units)

    encoder = AmFlowEncoder(vit, make, adapters, last_frame=last_frame, vote=vote)
    encoder.idle = not last_frame or flow["kind"] == "aligned"  # images are not aligned
    return encoder


def chosen_blocks(blocks: Literal["all"] | Sequence[int], depth: int) -> frozenset[int]:
    """Return the blocks of a recipe, which counts from 1, counted from 0.

    Raises:
        UsageError: there is no such block.
    """
    if blocks == "all":
        return frozenset(range(depth))
    if not blocks or not set(blocks) <= set(range(1, depth + 1)):
        raise UsageError(
            f"temporal am_flow: blocks is all, or a list of numbers from 1 to {depth}, not {blocks}"
        )
    return frozenset(number - 1 for number in blocks)


class AmFlowEncoder(AdaptedEncoder):
    """The encoder of `am_flow`: 2 features per chosen block, and one of the last frame."""

    def __init__(self, *args: Any, last_frame: bool, vote: Voting) -> None:
        super().__init__(*args)
        self.last_frame, self.vote = last_frame, vote

    def read_out(self, tokens: Tensor, frames: int | None) -> tuple[Tensor, ...]:
        """Pool the last frame's tokens (B*T, N, D) as timm's head does: (B, D)."""
        if not self.last_frame:
            return ()
        last = tokens.view(-1, frames or 1, *tokens.shape[1:])[:, -1]  # (B, N, D)
        return (self.vit.forward_head(self.vit.norm(last), pre_logits=True),)

    def _dims(self, additions: Additions) -> tuple[int, ...]:
        return (*additions.feature_dims, *([self.vit.num_features] if self.last_frame else []))


class AmFlowAdditions(Additions):
    """The adapters, flows and units of all blocks.

    Args:
        blocks: what runs them.
        bank: the adapters' weights.
        units: of each block, those on the embeddings of the adapters across attention and MLP; or
            none.
    """

    def __init__(
        self,
        blocks: Sequence["AmFlowBlock"],
        bank: AdapterBank,
        units: Sequence[Sequence[TemporalUnit]],
    ) -> None:
        super().__init__()
        self.blocks, self.bank = nn.ModuleList(blocks), bank
        self.units = nn.ModuleList(nn.ModuleList(each) for each in units)
        self.feature_dims = tuple(unit.out for each in units for unit in each)
        self.depth = len(blocks)

    def forward(
        self, number: int, block: Block, x: Tensor, frames: int | None, dataset: str
    ) -> tuple[Tensor, Features]:
        """Run a block with its adapters; see `Additions`."""
        weights, units = self.bank.weights(number, dataset), self.units[number]
        x, *embeddings = self.blocks[number](block, x, frames, weights)
        assert isinstance(units, nn.ModuleList)
        return x, tuple(unit(e, frames) for unit, e in zip(units, embeddings, strict=False))

    def stages(self) -> list[nn.Module]:
        """Return the blocks' own modules: without the units, as LSTMs cannot be compiled."""
        return list(self.blocks)


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
        normed = block.norm1(x)
        attn: LeanAttention = block.attn
        q, k, v = attn.split(attn.qkv(normed))
        q, k = attn.q_norm(q), attn.k_norm(k)
        branch = block.drop_path1(block.ls1(attn.finish(attn.attend(q, k, v), normed)))
        flow = self.flow(q, k, frames, attn.scale) if self.flow else None
        x, first = self._add(x, branch, weights["attn"], flow)
        branch = block.drop_path2(block.ls2(block.mlp(block.norm2(x))))
        x, second = self._add(x, branch, weights["mlp"], None)
        return x, first, second

    def _add(
        self, x: Tensor, branch: Tensor, weights: AdapterWeights, flow: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Return x with a branch and its adapter added, and the adapter's embedding."""
        still = self.flow.options.still if self.flow else 0.0
        source = x if self.placement == "parallel" else branch
        embedding, change = adapt(weights, source, flow, still=still)
        return x + branch + change, embedding
