"""Batch memory is used again, but never while anything can still see it."""

import gc

import pytest
import torch
from naive_shards import numbered, write_shards

from shards import open_dataset
from shards.stream.loader import TrainStream, UpdateLoader
from shards.stream.memory import Recycler
from shards.stream.plan import Plan

SHAPE = (4, 100, 100)


def test_dropped_memory_comes_again():
    memory = Recycler()
    places = set()
    for _ in range(20):
        tensor = memory.empty(SHAPE)
        assert (tensor.shape, tensor.dtype, tensor.is_contiguous()) == (SHAPE, torch.uint8, True)
        places.add(tensor.data_ptr())
        del tensor
    assert len(places) == 1


def test_a_smaller_batch_takes_it_and_a_larger_one_gets_more():
    memory = Recycler()
    first = memory.empty(SHAPE).data_ptr()
    assert memory.empty((3, 90, 90)).data_ptr() == first
    large = memory.empty((5, 100, 100))
    large.fill_(7)
    assert large.sum() == 7 * large.numel()


@pytest.mark.parametrize(
    "hold",
    [
        lambda t: t[1:2, 5],
        lambda t: t.view(-1),
        lambda t: t.detach(),
        lambda t: t.numpy(),
        lambda t: t.numpy()[2],
        lambda t: t.untyped_storage(),
        lambda t: torch.utils.dlpack.from_dlpack(torch.utils.dlpack.to_dlpack(t)),
    ],
)
def test_whatever_shares_it_keeps_it(hold):
    memory = Recycler()
    tensor = memory.empty(SHAPE)
    first = tensor.data_ptr()
    held = hold(tensor)
    del tensor
    gc.collect()
    assert memory.empty(SHAPE).data_ptr() != first
    del held
    gc.collect()
    places = [memory.empty(SHAPE) for _ in range(2)]
    assert first in [tensor.data_ptr() for tensor in places]


def test_it_outlives_its_recycler():
    tensor = Recycler().empty(SHAPE)
    gc.collect()
    assert tensor.fill_(3).sum() == 3 * tensor.numel()


def test_batches_that_are_kept_stay_as_they_were(tmp_path):
    samples = [(f"i{k}", k % 2, [numbered(8 + k % 3, 8, 10 * k)]) for k in range(12)]
    split = open_dataset(write_shards(tmp_path, samples, codec="ppm"))["train"]
    stream = TrainStream(split, Plan("toy", 12, 3, 0), 4, crop="none")
    with UpdateLoader({"toy": stream}, ({"toy": step} for step in range(40)), threads=2) as loader:
        kept = []
        for step, update in enumerate(loader):
            batch = update["toy"]
            if step % 3 == 0:
                kept.append(batch)
    for batch in kept:
        for key, frames, (height, width) in zip(
            batch.keys, batch.frames, batch.cuts[:, 2:].tolist(), strict=True
        ):
            assert (frames[:, :height, :width] == 10 * int(key[1:])).all()
            assert not frames[:, height:].any()
            assert not frames[:, :, width:].any()
