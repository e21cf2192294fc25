"""Packing views into passes of one size must not show in the scores."""

import pytest
import torch
from torch import nn

from ivvit_cli.evaluation.forward import ViewForward, pass_size
from shards.errors import EnvironmentFault

CLASSES = 6


class Tiny(nn.Module):
    """A nonlinear model that records the shapes it was called with."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.first = torch.randn(3 * 4 * 4, 16, generator=generator)
        self.second = torch.randn(16, CLASSES, generator=generator)
        self.shapes = []

    def forward(self, x, dataset):
        assert dataset == "toy"
        self.shapes.append(tuple(x.shape))
        return torch.tanh(x.flatten(1) @ self.first) @ self.second


@pytest.fixture
def samples():
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(count, 3, 4, 4, generator=generator) for count in (1, 3, 7, 2, 30, 1, 1)]


def run(samples, size, average="logits"):
    model = Tiny()
    forward = ViewForward(model, "toy", size=size, average=average)
    done = [score for views in samples for score in forward.add(views)]
    done += forward.finish()
    return torch.stack(done), model.shapes


@pytest.mark.parametrize("size", [1, 2, 3, 16, 45, 64])
@pytest.mark.parametrize("average", ["logits", "probabilities"])
def test_packed_scores_equal_a_loop_over_samples(samples, size, average):
    scores, shapes = run(samples, size, average)
    for views, score in zip(samples, scores, strict=True):
        logits = [Tiny()(view[None], "toy")[0] for view in views]
        each = logits if average == "logits" else [row.softmax(0) for row in logits]
        assert torch.allclose(score, sum(each) / len(each), atol=1e-5)
    assert set(shapes) == {(size, 3, 4, 4)}
    assert len(shapes) == -(-45 // size)


@pytest.mark.parametrize("bf16", [False, True])
def test_precision(samples, bf16):
    seen = []

    class Watched(Tiny):
        def forward(self, x, dataset):
            seen.append(torch.is_autocast_enabled("cpu"))
            return super().forward(x, dataset)

    forward = ViewForward(Watched(), "toy", size=4, average="logits", bf16=bf16)
    scores = forward.add(samples[2])
    assert seen == [bf16]
    assert all(score.dtype == torch.float32 for score in [*scores, *forward.finish()])


def test_the_padding_does_not_matter(samples):
    alone, _ = run(samples[:2], 16)
    followed, _ = run(samples, 16)
    assert torch.equal(alone, followed[:2])


def test_samples_come_out_as_soon_as_their_last_view_ran():
    forward = ViewForward(Tiny(), "toy", size=4, average="logits")
    assert forward.add(torch.zeros(3, 3, 4, 4)) == []
    assert len(forward.add(torch.zeros(3, 3, 4, 4))) == 1
    assert len(forward.add(torch.zeros(6, 3, 4, 4))) == 2
    assert forward.finish() == []


@pytest.mark.parametrize(
    ("batch", "views", "size"), [(16, 52, 13), (16, 1, 1), (16, 16, 16), (16, 17, 9), (4, 30, 4)]
)
def test_pass_size_spreads_the_views_evenly(batch, views, size):
    assert pass_size(batch, views) == size


def test_a_pass_that_does_not_fit_is_one_clear_line():
    class Greedy(nn.Module):
        def forward(self, x, dataset):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate …")

    forward = ViewForward(Greedy(), "toy", size=2, average="logits")
    with pytest.raises(EnvironmentFault, match="toy: a forward pass of 2 views does not fit") as e:
        forward.add(torch.zeros(2, 3, 4, 4))
    assert e.value.hint
