"""Attention over more than a GPU's kernel counts goes through it in parts."""

import pytest
import torch
from torch import Tensor

from ivvit_cli.models import attention
from ivvit_cli.models.attention import LeanAttention, most_on_cuda


class OnGpu(Tensor):
    """A tensor that says so."""

    is_cuda = True


def test_attention_over_time_counts_a_clip_as_128_frames() -> None:
    """Of TimeSformer-B: 12 heads at 196 places are 2352 of a clip."""
    assert most_on_cuda((1, 12 * 196, 8, 64)) == 2**31 // (12 * 196 * 128 * 64) == 111
    assert most_on_cuda((1, 12, 197, 64)) > 10_000
    assert most_on_cuda((1, 10**6, 197, 64)) == 1


def test_parts_give_what_the_whole_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "_MOST", 5 * 2 * 128 * 32)
    layer = LeanAttention(8, num_heads=2)
    q, k, v = torch.randn(3, 12, 2, 3, 4).unbind()
    whole, seen = layer.attend(q, k, v), list[int]()

    def note(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        seen.append(len(q))
        return LeanAttention._attend(layer, q, k, v)

    monkeypatch.setattr(layer, "_attend", note)
    parts = layer.attend(q.as_subclass(OnGpu), k, v)
    assert seen == [5, 5, 2]
    torch.testing.assert_close(parts.as_subclass(Tensor), whole)
