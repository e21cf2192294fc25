"""Models on a device with everything that a step of training or inference needs."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import cross_entropy
from torch.utils.flop_counter import FlopCounterMode

from bench.gpu.data import NAME
from bench.gpu.sizes import Sizes
from bench.naive import hugging_face_timesformer
from ivvit_cli.models import build_model
from ivvit_cli.training.compiling import compile_blocks
from shards.stream.loader import Batch

PLAIN = {"kind": "none"}
OVER = {
    "TokenShift": {"kind": "token_shift"},
    "MSCA-KV": {"kind": "msca", "variant": "KV"},
    "MSCA-pKV": {"kind": "msca", "variant": "pKV", "backward": 1, "forward": 1},
}
MEAN = STD = (0.5, 0.5, 0.5)
PASSES = 16  # shapes and modes that one kind of block may be compiled for in a run


@dataclass
class Bench:
    """A model on a device, from clips (B, T, 3, S, S) to logits (B, C), and its optimiser."""

    model: nn.Module
    logits: Callable[[Tensor], Tensor]
    device: torch.device
    size: int
    optimiser: torch.optim.Optimizer = field(init=False)

    def __post_init__(self) -> None:
        fused = self.device.type == "cuda"
        self.optimiser = torch.optim.AdamW(self.model.parameters(), lr=1e-5, fused=fused)

    def predict(self, clips: Tensor) -> Tensor:
        """Return logits in the precision of the device's trainings: bf16 on a GPU."""
        on = self.device.type == "cuda"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=on):
            return self.logits(clips)

    def learn(self, clips: Tensor, labels: Tensor) -> None:
        """Pass clips forward, and the gradients of their loss back."""
        self.model.train()
        self.optimiser.zero_grad(set_to_none=True)
        cross_entropy(self.predict(clips).float(), labels).backward()

    def train(self, batch: Batch) -> None:
        """Do one update on a decoded batch that is on the device."""
        self.learn(batch.render(self.size, MEAN, STD), batch.labels)
        self.optimiser.step()

    def infer(self, batch: Batch) -> None:
        """Score a decoded batch that is on the device."""
        self.model.eval()
        with torch.no_grad():
            self.predict(batch.render(self.size, MEAN, STD))


def ours(
    sizes: Sizes, device: torch.device, temporal: dict[str, object], *, compiled: bool = False
) -> Bench:
    """Build one of our models, its blocks perhaps compiled."""
    torch.manual_seed(0)
    model = build_model({**sizes.model, "temporal": temporal}, {NAME: sizes.classes}).to(device)
    if compiled:
        compile_blocks(model, passes=PASSES, backend=sizes.backend)
    return Bench(model, partial(model, dataset=NAME), device, sizes.size)


def theirs(sizes: Sizes, device: torch.device, frames: int) -> Bench:
    """Build Hugging Face's TimeSformer; raises ImportError without transformers."""
    model = hugging_face_timesformer(
        size=sizes.size, frames=frames, classes=sizes.classes, **sizes.peer
    ).to(device)
    return Bench(model, lambda clips: model(clips).logits, device, sizes.size)


def clip_flops(sizes: Sizes, frames: int) -> tuple[int, int]:
    """Return the floating-point operations of a clip: forward, and with the backward pass."""
    bench = ours(sizes, torch.device("meta"), PLAIN)
    clip = torch.empty(1, frames, 3, sizes.size, sizes.size, device="meta")
    counts = []
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        logits = bench.logits(clip)
        counts.append(int(counter.get_total_flops()))
        logits.sum().backward()
        counts.append(int(counter.get_total_flops()))
    return counts[0], counts[1]
