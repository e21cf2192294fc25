"""A file gets the scores that evaluation gives it on its shards, from every head."""

import numpy as np
import pytest
import tiny_runs
import torch
from media import write_image

from ivvit_cli.evaluation.protocol import Protocol, clip_arguments
from ivvit_cli.evaluation.runner import evaluate
from ivvit_cli.prediction.files import MediaFile, find_media
from ivvit_cli.prediction.heads import make_heads
from ivvit_cli.prediction.media import Media
from ivvit_cli.prediction.runner import predict
from ivvit_cli.runs import load_model
from shards.errors import InputError
from shards.stream.views import ViewLoader, Views

VIEWS = Views(2, 3)


class Toys:
    """Two datasets, their source files in the order of their shards, and a checkpoint of both."""

    def __init__(self, root):
        self.files = {
            "toys": tiny_runs.write_pictures(root / "pictures", ["ant", "bee"], 3),
            "films": tiny_runs.write_films(root / "films", ["run", "walk"], 2),
        }
        self.shards = {
            "toys": tiny_runs.make_shards("imagefolder", root / "pictures", root / "toys"),
            "films": tiny_runs.make_shards(
                "videofolder", root / "films", root / "shards", short_side=40, quality=5
            ),
        }
        self.model, self.meta = load_model(tiny_runs.save_run(root / "run", self.shards), "cpu")
        self.heads = make_heads({n: head.model_dump() for n, head in self.meta.heads.items()})

    def predict(self, files, *, average="logits", batch=16, bf16=False):
        predictions = predict(
            self.model, files, self.heads, views=VIEWS, **self.meta.input.model_dump(),
            average=average, batch=batch, bf16=bf16, device="cpu",
        )  # fmt: skip
        return list(predictions)

    def evaluate(self, name, average, bf16=False):
        clip = tiny_runs.CLIP if name == "films" else None
        fed = self.meta.input
        return evaluate(
            self.model, self.shards[name]["val"], dataset=name,
            protocol=Protocol(VIEWS, clip, fed.size, average, bf16),
            mean=fed.mean, std=fed.std, device="cpu",
        )  # fmt: skip


@pytest.fixture(scope="module")
def toys(tmp_path_factory):
    return Toys(tmp_path_factory.mktemp("toys"))


@pytest.mark.parametrize("name", ["toys", "films"])
@pytest.mark.parametrize("average", ["logits", "probabilities"])
def test_files_get_the_very_scores_of_their_shards(toys, name, average):
    files, _ = find_media(toys.files[name])
    predicted = np.stack([p.scores[name] for p in toys.predict(files, average=average)])
    scores = torch.from_numpy(toys.evaluate(name, average).scores)
    expected = torch.stack([row.softmax(0) if average == "logits" else row for row in scores])
    assert np.array_equal(predicted, expected.numpy())
    assert np.ptp(predicted, axis=0).max() > 0.01  # the files differ, so equality says something
    assert np.allclose(predicted.sum(1), 1)


def test_precision_is_that_of_evaluation(toys):
    files, _ = find_media(toys.files["toys"])
    exact, rounded = (
        np.stack([p.scores["toys"] for p in toys.predict(files, bf16=bf16)])
        for bf16 in (False, True)
    )
    expected = torch.from_numpy(toys.evaluate("toys", "logits", bf16=True).scores)
    assert np.array_equal(rounded, expected.softmax(1).numpy())
    assert not np.array_equal(rounded, exact)


def test_company_and_batch_change_rounding_only(toys):
    together, _ = find_media([*toys.files["toys"], *toys.files["films"]])
    for batch in (1, 3):
        for file, prediction in zip(together, toys.predict(together, batch=batch), strict=True):
            (alone,) = toys.predict([file])
            assert (prediction.path, prediction.kind) == (file.path, file.kind)
            assert list(prediction.scores) == ["toys", "films"]
            for name, scores in alone.scores.items():
                assert np.allclose(prediction.scores[name], scores, atol=1e-6)


def test_the_other_kind_is_read_as_its_own_head_reads_it(toys):
    """An image reaches the video head as an image, a video reaches the image head as a clip."""
    seen = {name: view_one(toys, name) for name in ("toys", "films")}
    assert seen["toys"].shape == (1, 3, tiny_runs.SIZE, tiny_runs.SIZE)  # a square image: one view
    assert seen["films"].shape == (6, 4, 3, tiny_runs.SIZE, tiny_runs.SIZE)
    for name, x in seen.items():
        (prediction,) = toys.predict(find_media(toys.files[name][:1])[0])
        for head in ("toys", "films"):
            with torch.no_grad():
                expected = toys.model(x, head).mean(0).softmax(0)
            assert np.allclose(prediction.scores[head], expected, atol=1e-6)


def view_one(toys, name):
    clip = clip_arguments(tiny_runs.CLIP) if name == "films" else {}
    split = toys.shards[name]["val"]
    with ViewLoader(split, views=VIEWS, size=tiny_runs.SIZE, indices=[0], **clip) as loader:
        return next(loader).render(tiny_runs.SIZE, tiny_runs.MEAN, tiny_runs.STD)


def test_a_file_that_cannot_be_read_keeps_its_error_and_harms_no_other(toys, tmp_path):
    good = toys.files["films"][0]
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(good.read_bytes()[:300])
    files = [MediaFile(cut, "video"), *find_media([good, tmp_path / "gone.png"])[0]]
    broken, whole, gone = toys.predict(files)
    assert str(cut) in broken.error
    assert "gone.png: no such file" in gone.error
    assert not broken.scores
    assert not gone.scores
    assert whole.error is None
    assert np.allclose(
        whole.scores["films"], toys.predict(files[1:2])[0].scores["films"], atol=1e-6
    )


def test_an_image_that_only_its_pixels_betray_is_named(tmp_path):
    path = tmp_path / "half.jpg"
    data = write_image(tmp_path / "whole.jpg", tiny_runs.picture(64, 64, 0)).read_bytes()
    media = Media(path, "image", "jpg", {0: data[: len(data) // 2]}, 1, 0.0, 64, 64)
    with pytest.raises(InputError, match=r"half\.jpg: not a readable jpg frame"):
        media.decode([0])


def test_scores_that_are_not_numbers_are_an_error(toys):
    files, _ = find_media(toys.files["toys"][:1])
    bias = toys.model.heads["films"].linears[0].bias
    before = bias.detach().clone()
    with torch.no_grad():
        bias.fill_(float("nan"))
    try:
        (prediction,) = toys.predict(files)
    finally:
        with torch.no_grad():
            bias.copy_(before)
    assert "the head films gives NaN scores" in prediction.error
