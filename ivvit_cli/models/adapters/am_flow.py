"""AM Flow's model: adapters fed with motion beside a ViT, whose embeddings go through time.

Agrawal et al., arXiv 2411.02065, Figure 2: in every chosen block an adapter across the attention,
which is fed with AM Flow, and one across the MLP; a temporal unit on the embedding of either; their
logits and those of the last frame's class token vote. The other blocks have plain adapters.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

from timm.models.hiera import Hiera
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

from ivvit_cli.errors import UsageError
from ivvit_cli.models.adapters.adapt import PLACES, AdapterBank
from ivvit_cli.models.adapters.am_flow_block import AmFlowBlock
from ivvit_cli.models.adapters.banks import adapter_spec, make_bank
from ivvit_cli.models.adapters.encoder import AdaptedEncoder, Additions, Features, Owner
from ivvit_cli.models.adapters.hiera import HieraFlowBlock
from ivvit_cli.models.adapters.units import TemporalUnit
from ivvit_cli.models.heads import VOTES, Voting
from ivvit_cli.models.hiera import attends_globally
from ivvit_cli.models.temporal.adopted import check_attention
from ivvit_cli.models.temporal.am_flow import make_flow

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
        vit: a ViT whose blocks have one attention and one MLP branch; or a Hiera, whose blocks can
            have AM Flow where they attend globally and do not pool.
        flow: `{kind: aligned | vanilla | none, …}`, its options those of `make_flow`.
        blocks: those that have AM Flow and temporal units, counted from 1, or all that can; the
            others have plain adapters (the paper's AM/2 has 1 and 12).
        adapter: `{kind: plain | hyperformer | compacter, …}`, its options those of `adapter_spec`.
        unit: `{kind: lstm | tcn | transformer | mean, …}`, its options those of `TemporalUnit`.
        last_frame: whether the last frame's class token is an output too. Without, blocks after the
            last of `blocks` have no part in the outputs, and do not run.
        vote: how the outputs' logits become one (`Head`).
        adapters: whether datasets share all this, or each has its own.

    Raises:
        UsageError: the ViT is of another make, or the options make no sense.
    """
    able = _able_blocks(vit)
    if vote not in VOTES:
        raise UsageError(f"temporal am_flow: vote is {', '.join(VOTES)}, not {vote}")
    depth = len(vit.blocks)
    chosen = chosen_blocks(blocks, able)
    spec = adapter_spec(**(adapter or {"kind": "plain"}))
    flow, unit = flow or {"kind": "aligned"}, unit or {"kind": "lstm"}

    def make(datasets: Sequence[str]) -> Additions:
        count = depth if last_frame else max(chosen) + 1
        flows = [make_flow(vit, n, **flow) if n in chosen else None for n in range(count)]
        block = HieraFlowBlock if isinstance(vit, Hiera) else AmFlowBlock
        added = [block(flow, spec.placement) for flow in flows]
        units = [
            [TemporalUnit(spec.hidden, **unit) for _ in PLACES] if number in chosen else []
            for number in range(count)
        ]
        widths = [vit.blocks[n].attn.proj.out_features for n in range(count)]
        bank = make_bank(spec, widths, [block.channels for block in added], datasets)
        return AmFlowAdditions(added, bank, units)

    encoder = AmFlowEncoder(vit, make, adapters, last_frame=last_frame, vote=vote)
    encoder.idle = not last_frame or flow["kind"] == "aligned"  # images are not aligned
    return encoder


def chosen_blocks(blocks: Literal["all"] | Sequence[int], able: Collection[int]) -> frozenset[int]:
    """Return the blocks of a recipe, which counts from 1, counted from 0.

    Args:
        able: those that can have AM Flow, from 0.

    Raises:
        UsageError: one of the blocks is none of these.
    """
    if blocks == "all":
        return frozenset(able)
    chosen = frozenset(number - 1 for number in blocks)
    if not chosen or not chosen <= set(able):
        known = ", ".join(str(number + 1) for number in able)
        raise UsageError(f"temporal am_flow: blocks is all, or some of {known}, not {blocks}")
    return chosen


def _able_blocks(vit: VisionTransformer | Hiera) -> list[int]:
    if isinstance(vit, Hiera):
        return [number for number, block in enumerate(vit.blocks) if attends_globally(block)]
    check_attention(vit, "am_flow")
    return list(range(len(vit.blocks)))


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
