"""Evaluation against a loop that takes one view at a time, decoded and resized by other code."""

import io
import os
import socket
import subprocess
import sys

import numpy as np
import pytest
import tiny_runs
import torch
from naive_shards import write_shards
from PIL import Image
from torchvision.transforms.v2 import functional as tv

from ivvit_cli.evaluation.protocol import Protocol
from ivvit_cli.evaluation.runner import evaluate
from ivvit_cli.models import build_model
from shards import open_dataset
from shards.errors import InputError
from shards.stream.views import Views

SIZE = tiny_runs.SIZE


@pytest.fixture(scope="module")
def datasets(tmp_path_factory):
    root = tmp_path_factory.mktemp("runner")
    tiny_runs.write_pictures(root / "pictures", ["ant", "bee", "cat"], 3)
    tiny_runs.write_pictures(root / "picture", ["ant"], 1)
    tiny_runs.write_films(root / "films", ["run", "walk"], 3)
    return {
        "toys.v1": tiny_runs.make_shards("imagefolder", root / "pictures", root / "toys"),
        "films": tiny_runs.make_shards("videofolder", root / "films", root / "shards"),
        "single": tiny_runs.make_shards("imagefolder", root / "picture", root / "single"),
    }


@pytest.fixture(scope="module")
def model(datasets):
    torch.manual_seed(3)
    net = build_model(tiny_runs.MODEL, {name: len(d.classes) for name, d in datasets.items()})
    for value in net.heads.parameters():
        torch.nn.init.normal_(value, std=0.2)
    return net.eval()


def run(model, dataset, shards, views, average="logits", **options):
    clip = tiny_runs.CLIP if shards.kind == "video" else None
    protocol = Protocol(views, clip, SIZE, average, bf16=False)
    return evaluate(
        model, shards["val"], dataset=dataset, protocol=protocol,
        mean=tiny_runs.MEAN, std=tiny_runs.STD, device="cpu", **options,
    )  # fmt: skip


def naive_crops(frame, crops):
    """Resize one frame and cut its views: float (3, S, S) each, in order, without repetition."""
    pixels = torch.from_numpy(np.array(frame)).permute(2, 0, 1).float()
    height, width = pixels.shape[1:]
    short = min(height, width)
    tall, wide = SIZE * height // short, SIZE * width // short
    pixels = tv.resize(pixels, [tall, wide], antialias=True)
    room = max(tall, wide) - SIZE
    places = {1: [room // 2], 3: [0, room / 2, room]}[crops]
    cut = []
    for place in dict.fromkeys(round(place) for place in places):
        top, left = (place, 0) if tall > wide else (0, place)
        cut.append(pixels[:, top : top + SIZE, left : left + SIZE])
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (tiny_runs.MEAN, tiny_runs.STD))
    return [(crop / 255 - mean) / std for crop in cut]


def naive_views(split, i, views):
    frames = [Image.open(io.BytesIO(data)).convert("RGB") for data in split.read(i)]
    if split.kind == "image":
        return naive_crops(frames[0], views.crops)
    length = tiny_runs.CLIP["frames"]
    found = []
    for k in range(views.clips):
        phase = (k + 0.5) / views.clips
        numbers = [int((t + phase) * len(frames) / length) for t in range(length)]
        crops = [naive_crops(frames[number], views.crops) for number in numbers]
        found += [torch.stack(view) for view in zip(*crops, strict=True)]
    return found


@pytest.mark.parametrize("name", ["toys.v1", "films"])
@pytest.mark.parametrize("views", [Views(1, 1), Views(2, 3)])
@pytest.mark.parametrize("average", ["logits", "probabilities"])
def test_scores_equal_a_loop_over_views(model, datasets, name, views, average):
    split = datasets[name]["val"]
    scores = run(model, name, datasets[name], views, average=average)
    for i in range(len(split)):
        with torch.no_grad():
            logits = [model(view[None], name)[0] for view in naive_views(split, i, views)]
        each = logits if average == "logits" else [row.softmax(0) for row in logits]
        expected = (sum(each) / len(each)).numpy()
        assert scores.scores[i] == pytest.approx(expected, abs=1e-4)
        assert scores.keys[i] == split.key(i)
        assert scores.labels[i] == split.label(i)


@pytest.mark.parametrize("name", ["toys.v1", "films"])
def test_the_batch_size_changes_rounding_only(model, datasets, name):
    scores = [run(model, name, datasets[name], Views(2, 3), batch=b).scores for b in (1, 3, 16)]
    assert np.ptp(scores[0]) > 0.1  # the samples differ, so equality says something
    assert np.abs(scores[1] - scores[0]).max() < 1e-6
    assert np.abs(scores[2] - scores[0]).max() < 1e-6


def test_a_square_image_is_seen_once(model, datasets):
    shapes = []
    handle = model.register_forward_pre_hook(lambda _, args: shapes.append(args[0].shape))
    try:
        run(model, "toys.v1", datasets["toys.v1"], Views(10, 3), batch=1)
    finally:
        handle.remove()
    # of nine images three are square (one view), six are not (three views)
    assert shapes == [(1, 3, SIZE, SIZE)] * (3 * 1 + 6 * 3)


def test_modes_come_back_as_they_were_and_progress_counts_samples(model, datasets):
    model.train()
    model.encoder.vit.norm.eval()  # a frozen part
    before = [module.training for module in model.modules()]
    ticks = []
    run(model, "films", datasets["films"], Views(1, 1), on_sample=lambda: ticks.append(1))
    assert [module.training for module in model.modules()] == before
    assert len(ticks) == 6
    model.eval()


def test_a_failing_model_gets_its_mode_back_too(model, datasets):
    model.train()
    with pytest.raises(KeyError):
        run(model, "absent", datasets["films"], Views(1, 1))
    assert model.training
    model.eval()


def test_an_empty_split_is_refused(model, tmp_path):
    empty = open_dataset(write_shards(tmp_path, [], split="val", kind="video"))
    with pytest.raises(InputError, match="films: the split val holds no sample"):
        run(model, "films", empty, Views(1, 1))


RANK = """
import sys
import numpy as np, torch
from torch import distributed
import tiny_runs
from ivvit_cli.evaluation.protocol import Protocol
from ivvit_cli.evaluation.runner import evaluate
from ivvit_cli.models import build_model
from shards import open_dataset
from shards.stream.views import Views

weights, out, *folders = sys.argv[1:]
distributed.init_process_group("gloo")
rank, world = distributed.get_rank(), distributed.get_world_size()
model = build_model(tiny_runs.MODEL, {"toys.v1": 3, "films": 2, "single": 1})
model.load_state_dict(torch.load(weights, weights_only=True))
protocol = Protocol(Views(1, 3), None, tiny_runs.SIZE, "logits", bf16=False)
for name, folder in zip(("toys.v1", "single"), folders, strict=True):
    seen = []
    scores = evaluate(
        model, open_dataset(folder)["val"], dataset=name, protocol=protocol,
        mean=tiny_runs.MEAN, std=tiny_runs.STD, batch=4, device="cpu",
        rank=rank, world=world, on_sample=lambda: seen.append(1),
    )
    found = {"scores": scores.scores, "labels": scores.labels, "seen": len(seen)}
    np.savez(f"{out}-{name}-{rank}.npz", **found)
distributed.destroy_process_group()
"""


def free_port():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def test_two_processes_score_every_sample_once(model, datasets, tmp_path):
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    names = ("toys.v1", "single")  # nine images, and one
    args = [tmp_path / "weights.pt", tmp_path / "rank", *(datasets[n].folder for n in names)]
    shared = os.environ | {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        "WORLD_SIZE": "2",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    processes = [
        subprocess.Popen([sys.executable, "-c", RANK, *map(str, args)], env=shared | {"RANK": r})
        for r in "01"
    ]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    for name, shares in zip(names, ([5, 4], [1, 0]), strict=True):
        alone = run(model, name, datasets[name], Views(1, 3))
        found = [np.load(tmp_path / f"rank-{name}-{r}.npz") for r in "01"]
        assert [int(rank["seen"]) for rank in found] == shares
        for rank in found:
            assert np.abs(rank["scores"] - alone.scores).max() < 1e-6
            assert rank["labels"].tolist() == alone.labels.tolist()
