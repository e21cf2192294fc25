"""What AM Flow, adapters and temporal units beside a small frozen ViT learn of order and direction.

The ViT, of the demo's size, is trained on the demo's images and then frozen. `order` and
`direction` are clips on which frames one by one are at most half right (see `bench.motion`); here
they come as they are drawn, without files in between. The output of the last frame's class token is
switched off; what a head on that frame alone can tell is shown beside.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.paired import print_table
from ivvit_cli.demo.datasets import DIRECTION, ORDER, SHAPES, TEXTURES, DemoSet
from ivvit_cli.models import JointModel, build_model
from ivvit_cli.models.adapters.am_flow_block import AmFlowBlock
from ivvit_cli.models.encoder import Encoder

SIDE, FRAMES, BATCH, SEED = 32, 8, 24, 0
IMAGE_STEPS, STEPS = 500, {"order": 200, "direction": 400}
BACKBONE = {
    "backbone": "vit_tiny_patch16_224",
    "backbone_args": {
        "img_size": SIDE, "patch_size": 8, "embed_dim": 64, "depth": 4, "num_heads": 4,
    },
}  # fmt: skip
ADAPTERS = {"kind": "am_flow", "last_frame": False, "adapter": {"kind": "plain", "width": 32}}
LSTM, TCN, MEAN = {"kind": "lstm"}, {"kind": "tcn", "layers": 2}, {"kind": "mean"}
TRANSFORMER = {"kind": "transformer", "heads": 4, "hidden": 64}


def beside(flow: str, unit: Mapping[str, Any]) -> dict[str, Any]:
    """Return the section `temporal` of adapters with this flow and unit."""
    hidden = {"hidden": 64} if flow == "aligned" else {}
    return {**ADAPTERS, "flow": {"kind": flow, **hidden}, "unit": dict(unit)}


@dataclass(frozen=True)
class Clips:
    """Clips (S, 24, 3, H, W) in [-1, 1] and their labels."""

    frames: Tensor
    labels: Tensor

    def batch(self, rng: np.random.Generator, shuffled: bool) -> tuple[Tensor, Tensor]:
        """Return FRAMES frames, evenly apart from a random first one, of BATCH clips."""
        chosen = torch.from_numpy(rng.integers(0, len(self.labels), BATCH))
        step = self.frames.shape[1] // FRAMES
        first = torch.from_numpy(rng.integers(0, step, (BATCH, 1)))
        places = first + step * torch.arange(FRAMES)
        if shuffled:
            places = torch.gather(places, 1, torch.from_numpy(rng.random(places.shape)).argsort(1))
        return self.frames[chosen[:, None], places], self.labels[chosen]

    def middle(self) -> Tensor:
        """Return the frames in the middle of each of FRAMES parts."""
        step = self.frames.shape[1] // FRAMES
        return self.frames[:, step // 2 :: step]


class LastFrame(Encoder):
    """The frozen ViT on the last frame alone."""

    def read_out(self, tokens: Tensor, frames: int | None) -> tuple[Tensor, ...]:
        """Pool the last frame's tokens."""
        last = tokens.view(-1, frames or 1, *tokens.shape[1:])[:, -1]
        return super().read_out(last, None)


VARIANTS: dict[str, tuple[Mapping[str, Any], bool]] = {  # `temporal`, whether on shuffled frames
    "frozen, mean head": ({"kind": "none"}, False),
    "frozen, last-frame head": ({"kind": "last"}, False),
    "adapters, LSTM, no flow": (beside("none", LSTM), False),
    "adapters, TCN, no flow": (beside("none", TCN), False),
    "adapters, Transformer, no flow": (beside("none", TRANSFORMER), False),
    "vanilla flow, LSTM": (beside("vanilla", LSTM), False),
    "vanilla flow, TCN": (beside("vanilla", TCN), False),
    "vanilla flow, Transformer": (beside("vanilla", TRANSFORMER), False),
    "aligned flow, LSTM": (beside("aligned", LSTM), False),
    "aligned flow, TCN": (beside("aligned", TCN), False),
    "aligned flow, Transformer": (beside("aligned", TRANSFORMER), False),
    "vanilla flow, mean over time": (beside("vanilla", MEAN), False),
    "vanilla flow, LSTM, shuffled": (beside("vanilla", LSTM), True),
    "vanilla flow, TCN, shuffled": (beside("vanilla", TCN), True),
    "vanilla flow, Transformer, shuffled": (beside("vanilla", TRANSFORMER), True),
    "ST-Adapter": ({"kind": "st_adapter", "width": 32}, False),
    "AdaptFormer": ({"kind": "adaptformer", "width": 32}, False),
}


def main() -> None:
    """Train the ViT on images, then every variant on either dataset, and print the tables."""
    torch.set_num_threads(1)
    backbone, images = train_on_images()
    print(f"the ViT on images, top-1 on held-out ones: {images}", flush=True)
    for dataset in (ORDER, DIRECTION):
        train, val = (draw(dataset, split) for split in ("train", "val"))
        rows = []
        for name, (temporal, shuffled) in VARIANTS.items():
            given = (temporal, train, val, STEPS[dataset.name])
            rows.append([name, *learn(backbone, *given, shuffled=shuffled)])
            print(dataset.name, *rows[-1], sep=" | ", flush=True)
        title = (
            f"{dataset.name}: top-1 in percent on {len(val.labels)} held-out clips, "
            f"chance {100 / len(dataset.classes):.1f}; tested also on shuffled frames, and with AM "
            "Flow at its value of no motion"
        )
        steps = [f"at {step}" for step in checked(STEPS[dataset.name])]
        header = ["", "trained", *steps, "shuffled", "no motion"]
        print_table(title, header, rows)


def draw(dataset: DemoSet, split: str) -> Clips:
    """Draw a split, at half its size."""
    places = [place for place in dataset.places() if place[0] == split]
    pixels = np.stack([square(dataset.sample(*place, SEED)) for place in places])
    frames = torch.from_numpy(pixels).movedim(-1, -3).float() / 127.5 - 1  # (S, [T,] 3, H, W)
    small = F.avg_pool2d(frames.flatten(0, -4), frames.shape[-1] // SIDE)
    labels = torch.tensor([label for _, label, _ in places])
    return Clips(small.view(*frames.shape[:-2], SIDE, SIDE), labels)


def square(pixels: np.ndarray) -> np.ndarray:
    """Cut the middle out of (…, H, W, 3)."""
    height, width = pixels.shape[-3:-1]
    left = (width - height) // 2
    return pixels[..., left : left + height, :]


def train_on_images() -> tuple[dict[str, Tensor], dict[str, float]]:
    """Return the state of a ViT trained on the demo's images, and what it knows of them."""
    torch.manual_seed(SEED)
    sets = {each.name: each for each in (SHAPES, TEXTURES)}
    model = build_model(BACKBONE, {name: len(each.classes) for name, each in sets.items()})
    train, val = ({n: draw(each, s) for n, each in sets.items()} for s in ("train", "val"))
    rng = np.random.default_rng(SEED)

    def batches() -> Iterator[tuple[Tensor, Tensor, str]]:
        while True:
            for name, each in train.items():
                chosen = torch.from_numpy(rng.integers(0, len(each.labels), 32))
                yield each.frames[chosen], each.labels[chosen], name

    optimise(model, batches(), 2 * IMAGE_STEPS)
    known = {name: top1(model, each.frames, each.labels, name) for name, each in val.items()}
    return model.encoder.vit.state_dict(), known


def learn(
    backbone: Mapping[str, Tensor],
    temporal: Mapping[str, Any],
    train: Clips,
    val: Clips,
    steps: int,
    *,
    shuffled: bool,
) -> list[str]:
    """Train a variant; return the size of what is trained and its accuracies."""
    torch.manual_seed(SEED)
    last = temporal["kind"] == "last"
    section = {**BACKBONE, "temporal": {"kind": "none"} if last else temporal}
    model = build_model(section | {"freeze": ["backbone"]}, {"clips": len(train.labels.unique())})
    if last:
        model.encoder.__class__ = LastFrame
    model.encoder.vit.load_state_dict(backbone)
    rng = np.random.default_rng(SEED)

    def batches() -> Iterator[tuple[Tensor, Tensor, str]]:
        while True:
            yield *train.batch(rng, shuffled), "clips"

    straight, mixed = val.middle(), shuffle(val.middle())
    seen = mixed if shuffled else straight
    curve: dict[int, float] = {}

    def watch(step: int) -> None:
        if step in checked(steps):
            curve[step] = top1(model, seen, val.labels, "clips")

    optimise(model, batches(), steps, watch)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    figures = [*curve.values(), top1(model, mixed, val.labels, "clips")]
    cells = [f"{trained:,}", *(f"{figure:.1f}" for figure in figures)]
    return [*cells, f"{top1(model, seen, val.labels, 'clips'):.1f}" if hold_still(model) else ""]


def checked(steps: int) -> list[int]:
    """Return after how many steps a model is tested."""
    return [steps // 4, steps // 2, steps]


def optimise(
    model: JointModel,
    batches: Iterator[tuple[Tensor, Tensor, str]],
    steps: int,
    watch: Callable[[int], None] = lambda step: None,
) -> None:
    """Train with AdamW at a rate that rises, then falls to 0; heads alone at ten times the rate."""
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    rate = 2e-2 if all(name.startswith("heads.") for name in trained) else 2e-3
    optimiser = torch.optim.AdamW(trained.values(), lr=rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps)
    for step in range(1, steps + 1):
        model.train()
        x, labels, dataset = next(batches)
        optimiser.zero_grad()
        F.cross_entropy(model(x, dataset), labels).backward()
        nn.utils.clip_grad_norm_(trained.values(), 1.0)
        optimiser.step()
        schedule.step()
        watch(step)


def top1(model: JointModel, x: Tensor, labels: Tensor, dataset: str) -> float:
    """Return the accuracy in percent."""
    model.eval()
    with torch.no_grad():
        found = torch.cat([model(part, dataset).argmax(1) for part in x.split(64)])
    return 100 * (found == labels).float().mean().item()


def shuffle(clips: Tensor) -> Tensor:
    """Shuffle the frames of each clip, the same way in every run."""
    order = torch.rand(clips.shape[:2], generator=torch.Generator().manual_seed(SEED)).argsort(1)
    return clips[torch.arange(len(clips))[:, None], order]


def hold_still(model: JointModel) -> bool:
    """Give every AM Flow its value of no motion, from now on; return whether there is any."""
    blocks: Sequence[nn.Module] = [m for m in model.modules() if isinstance(m, AmFlowBlock)]
    flows = [block.flow for block in blocks if isinstance(block, AmFlowBlock) and block.flow]
    for flow in flows:
        as_image = flow.forward
        flow.forward = lambda q, k, frames, scale, still=as_image: still(q, k, None, scale)
    return bool(flows)


if __name__ == "__main__":
    main()
