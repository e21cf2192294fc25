"""The temporal models beside a plain ViT, the formulations of their repositories, and Hugging Face.

Time is CPU time, paired. Operations and the bytes that eager operations move do not depend on the
machine; on a GPU the bytes are what a formulation costs, which a CPU hides behind its arithmetic.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from bench.naive import hugging_face_timesformer, naive_msca, naive_token_shift
from bench.paired import cpu_seconds, print_table, ratio
from bench.traffic import Traffic
from ivvit_cli.models import build_model
from ivvit_cli.models.backbone import create_vit
from ivvit_cli.models.encoder import Encoder

SIZE, FRAMES, WIDTH, DEPTH, HEADS, CLASSES = 224, 8, 768, 2, 12, 400
ARGS = {"img_size": SIZE, "embed_dim": WIDTH, "depth": DEPTH, "num_heads": HEADS}
VIT = "vit_base_patch16_224"
OURS = {
    "plain ViT": {"kind": "none"},
    "TokenShift": {"kind": "token_shift"},
    "MSCA-KV": {"kind": "msca"},
    "MSCA-pKV": {"kind": "msca", "variant": "pKV"},
    "TimeSformer, divided": {"kind": "divided", "frames": FRAMES},
    "TimeSformer, joint": {"kind": "joint", "frames": FRAMES},
    "TimeSformer, space only": {"kind": "space_only"},
    "tubelet": {"kind": "tubelet", "frames": FRAMES},
}
NAIVE = {"TokenShift, naive": naive_token_shift, "MSCA-KV, naive": naive_msca}
PEER = "TimeSformer, Hugging Face"
PAIRS = [
    ("TokenShift, naive", "TokenShift"),
    ("MSCA-KV, naive", "MSCA-KV"),
    (PEER, "TimeSformer, divided"),
]
Run = Callable[[Tensor], Tensor]


def main() -> None:
    """Print operations, bytes and CPU time of a clip, forward and with the backward pass."""
    clip = torch.randn(1, FRAMES, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    runs = {name: _kept(run) for name, run in models().items()}
    print(f"ViT-B of {DEPTH} blocks, one clip of {FRAMES} frames, {SIZE} pixels, float32, eager")
    print_costs(runs, clip)
    for title, step in (("forward", forward), ("forward and backward", backward)):
        tasks = {name: partial(step, run, clip) for name, run in runs.items()}
        seconds = cpu_seconds(tasks)
        rows = [[name, ratio(times, seconds["plain ViT"])] for name, times in seconds.items()]
        header = ["", "times the plain ViT's CPU time"]
        print_table(f"{title}: median [least, most] of 5 paired rounds", header, rows)
        pairs = [
            [ours, peer, ratio(seconds[peer], seconds[ours])]
            for peer, ours in PAIRS
            if peer in seconds
        ]
        print_table(f"{title}: times faster", ["", "than", ""], pairs)


def models() -> dict[str, Run]:
    """Return every model as a function from clips to logits, ready to train."""
    runs: dict[str, Run] = {}
    for name, temporal in OURS.items():
        section = {"backbone": VIT, "backbone_args": ARGS, "temporal": temporal}
        model = build_model(section, {"clips": CLASSES}).train()
        runs[name] = partial(model, dataset="clips")
    for name, make in NAIVE.items():
        runs[name] = _Classifier(make(create_vit(VIT, {**ARGS, "attn_layer": "attn"}))).train()
    try:
        peer = hugging_face_timesformer(
            size=SIZE, frames=FRAMES, width=WIDTH, depth=DEPTH, heads=HEADS, classes=CLASSES
        ).train()
    except ImportError:
        print("transformers is not installed: not compared")
    else:
        runs[PEER] = lambda clips: peer(clips).logits
    return runs


class _Classifier(nn.Module):
    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder, self.head = encoder, nn.Linear(WIDTH, CLASSES)

    def forward(self, clips: Tensor) -> Tensor:
        """Return logits (B, C) of clips (B, T, 3, H, W)."""
        logits: Tensor = self.head(self.encoder(clips, "")[0])
        return logits


def _kept(run: Run) -> Run:
    """Have the first backward pass behind, so that gradients have their memory."""
    run(torch.zeros(1, FRAMES, 3, SIZE, SIZE)).sum().backward()
    return run


def forward(run: Run, clip: Tensor) -> None:
    """Pass a clip through, keeping nothing."""
    with torch.no_grad():
        run(clip)


def backward(run: Run, clip: Tensor) -> None:
    """Pass a clip through and its gradient back."""
    run(clip).sum().backward()


def print_costs(runs: dict[str, Run], clip: Tensor) -> None:
    """Print what does not depend on the machine: operations and bytes, and how many more."""
    costs = {
        name: [operations(partial(backward, run, clip)), *moved(run, clip)]
        for name, run in runs.items()
    }
    plain = costs["plain ViT"]
    rows = []
    for name, (flops, ahead, both) in costs.items():
        extra = flops - plain[0]
        cells = [f"{flops / 1e9:.1f}", f"{extra / 1e9:+.1f}" if extra else "0"]
        cells += [
            f"{x / 1e9:.2f} ({x / y - 1:+.1%})"
            for x, y in zip((ahead, both), plain[1:], strict=True)
        ]
        rows.append([name, *cells])
    header = ["", "GFLOP, forward + backward", "extra", "GB moved, forward", "and backward"]
    print_table("what a clip costs on any machine (2 FLOP per multiply-add)", header, rows)


def operations(task: Callable[[], object]) -> int:
    """Return the floating-point operations of a task, attention's own included."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        task()
    return int(counter.get_total_flops())


def moved(run: Run, clip: Tensor) -> tuple[int, int]:
    """Return the bytes that operations move in a forward pass, and with the backward pass."""
    with Traffic() as traffic:
        logits = run(clip)
        ahead = traffic.bytes
        logits.sum().backward()
    return ahead, traffic.bytes


if __name__ == "__main__":
    main()
