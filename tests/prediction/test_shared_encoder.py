"""Heads that read a file alike share the encoder's work; no score changes by a bit."""

from dataclasses import replace

import numpy as np
import pytest
import tiny_runs
import torch

from ivvit_cli.models import build_model
from ivvit_cli.prediction.files import find_media
from ivvit_cli.prediction.heads import DEFAULTS, Head, Reading
from ivvit_cli.prediction.runner import predict
from shards.stream.views import Views

CLIP = replace(DEFAULTS["video"], length=4)
OTHER = replace(CLIP, sample="dense", stride=1)
HEADS = [
    Head("a", "video", "xy", {"video": CLIP, "image": Reading()}),
    Head("b.1", "video", "xyz", {"video": OTHER, "image": Reading()}),
    Head("c", "image", "xyz", {"video": CLIP, "image": Reading()}),
    Head("d", "image", "xy", {"video": CLIP, "image": Reading(short_side=36)}),
]
PLAIN = {"kind": "token_shift", "fold_div": 4}
OWN = {"kind": "st_adapter", "width": 8, "adapters": "per-dataset"}
SHARED = OWN | {"adapters": "shared"}
MADE = {"kind": "am_flow", "adapter": {"kind": "hyperformer", "width": 8, "embedding": 4}}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    root = tmp_path_factory.mktemp("media")
    paths = [*tiny_runs.write_films(root, ["x"], 2), *tiny_runs.write_pictures(root, ["x"], 3)]
    return find_media(paths)[0]


def random_model(temporal):
    model = build_model(
        tiny_runs.MODEL | {"temporal": temporal}, {head.name: len(head.classes) for head in HEADS}
    )
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():  # adapters that start at 0 would all be alike
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model


def scores_of(model, files, heads, average="logits"):
    """Return the scores of each file by head, and the shape of each of the encoder's passes."""
    passes = []
    counted = model.encoder.register_forward_hook(lambda _, args, out: passes.append(args[0].shape))
    found = predict(
        model, files, heads, views=Views(2, 3), size=tiny_runs.SIZE, mean=tiny_runs.MEAN,
        std=tiny_runs.STD, average=average, batch=4, device="cpu",
    )  # fmt: skip
    scores = [prediction.scores for prediction in found]
    counted.remove()
    return scores, passes


@pytest.mark.parametrize("average", ["logits", "probabilities"])
@pytest.mark.parametrize(
    ("temporal", "shared"), [(PLAIN, True), (SHARED, True), (OWN, False), (MADE, False)]
)
def test_the_encoder_runs_once_where_its_features_are_the_same(files, temporal, shared, average):
    model = random_model(temporal)
    together, passes = scores_of(model, files, HEADS, average)
    alone = [scores_of(model, files, [head], average) for head in HEADS]
    for number, scores in enumerate(together):
        assert scores.keys() == {head.name for head in HEADS}
        for head, (own, _) in zip(HEADS, alone, strict=True):
            assert np.array_equal(scores[head.name], own[number][head.name])
    each = [len(own) for _, own in alone]
    videos = sum(len(shape) == 5 for shape in alone[0][1])
    images = each[0] - videos
    assert min(videos, images) > 1  # so that a file's views come in several passes
    assert len(passes) == (2 * videos + 2 * images if shared else sum(each))
