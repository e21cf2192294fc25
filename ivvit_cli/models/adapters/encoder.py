"""A ViT whose parameters stay its own, with what datasets have added beside its blocks."""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ivvit_cli.errors import UsageError
from ivvit_cli.models.adapters.adapt import AdapterBank
from ivvit_cli.models.encoder import Encoder
from ivvit_cli.models.heads import head_key

Owner = Literal["shared", "per-dataset"]
Features = tuple[Tensor, ...]


class Additions(nn.Module):
    """What is added to all blocks of a ViT.

    Its `forward(number, block, x, frames, dataset)` runs a block of timm with what is added to it.
    It maps tokens (B*T, N, D) to such, and to the features (B, D_i) that the additions give.

    Attributes:
        feature_dims: the widths of these features, of all blocks.
        depth: how many blocks have to run.
    """

    feature_dims: tuple[int, ...] = ()
    depth: int

    def stages(self) -> list[nn.Module]:
        """Return modules that can be compiled, one per block; none by default."""
        return []


class AdaptedEncoder(Encoder):
    """A ViT, and the additions of all datasets or of each.

    The ViT's own parameters are `vit.…`, all others are below `adapters.`; see `own`.

    Args:
        make: makes the additions for the datasets that share them.
        owner: whether all datasets share their additions (`shared`) or each has its own.
    """

    def __init__(
        self,
        vit: VisionTransformer,
        make: Callable[[Sequence[str]], Additions],
        owner: Owner = "shared",
    ) -> None:
        super().__init__(vit)
        if owner not in ("shared", "per-dataset"):
            raise UsageError(f"temporal: adapters are shared or per-dataset, not {owner}")
        self._make = make
        self.owner = owner
        self.adapters = nn.ModuleDict()

    def own(self, datasets: Sequence[str]) -> None:
        """Make the additions for these datasets."""
        if self.owner == "shared":
            self.adapters["shared"] = self._make(datasets)
        else:
            for name in datasets:
                self.adapters[head_key(name)] = self._make([name])
        self.feature_dims = self._dims(next(iter(self._sets())))
        banks = (module for module in self.modules() if isinstance(module, AdapterBank))
        self.by_dataset = self.owner != "shared" or any(bank.by_dataset for bank in banks)

    def forward(self, x: Tensor, dataset: str) -> Features:
        """Encode images (B, 3, H, W) or clips (B, T, 3, H, W) into features (B, D_i)."""
        if x.ndim == 5 and x.shape[1] == 1:
            x = x.squeeze(1)
        frames = x.shape[1] if x.ndim == 5 else None
        tokens, features = self.embed(x), list[Tensor]()
        additions = self.additions(dataset)
        for number in range(additions.depth):
            tokens, found = self._run_added(additions, number, tokens, frames, dataset)
            features.extend(found)
        return (*features, *self.read_out(tokens, frames))

    def derive(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Keep fresh additions where the source has none."""
        added = self.adapters.state_dict(prefix="encoder.adapters.")
        return super().derive(state) | {name: value.detach() for name, value in added.items()}

    def stages(self) -> list[nn.Module]:
        """Return what `torch.compile` can take, block by block."""
        return [stage for additions in self._sets() for stage in additions.stages()]

    def _dims(self, additions: Additions) -> tuple[int, ...]:
        return (*additions.feature_dims, self.vit.num_features)

    def _sets(self) -> list[Additions]:
        return [each for each in self.adapters.values() if isinstance(each, Additions)]

    def additions(self, dataset: str) -> Additions:
        """Return what runs beside the blocks for a dataset."""
        key = "shared" if self.owner == "shared" else head_key(dataset)
        additions = self.adapters[key]
        assert isinstance(additions, Additions)
        return additions

    def _run_added(
        self, additions: Additions, number: int, x: Tensor, frames: int | None, dataset: str
    ) -> tuple[Tensor, Features]:
        block: Block = self.vit.blocks[number]
        args = (number, block, x, frames, dataset)
        if self.vit.grad_checkpointing and self.training:
            light: tuple[Tensor, Features] = checkpoint(additions, *args, use_reentrant=False)
            return light
        out: tuple[Tensor, Features] = additions(*args)
        return out
