"""Whoever reads, in how many processes and threads, and from whatever step on: the same samples."""

import hashlib
import threading
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_shards import numbered, picture, write_shards

from shards import open_dataset
from shards.errors import InputError
from shards.stream.loader import TrainStream, UpdateLoader
from shards.stream.plan import Plan
from shards.stream.views import ViewLoader, Views

SIZE = 16
WORLDS, THREADS = (1, 2, 3, 4, 8), (0, 1, 3)
FEW = settings(max_examples=12, derandomize=True, deadline=None)


def videos(folder, count, per_shard=3):
    samples = [
        (f"v{i:03d}", i % 2, [picture(20 + i % 5, 26 - i % 4, 9 * i + t) for t in range(3 + i % 4)])
        for i in range(count)
    ]
    return open_dataset(write_shards(folder, samples, kind="video", per_shard=per_shard))["train"]


def images(folder, count, per_shard=2):
    samples = [(f"i{k:03d}", k % 2, [picture(18 + k % 3, 24, k)]) for k in range(count)]
    options = {"name": "pics", "codec": "ppm", "per_shard": per_shard}
    return open_dataset(write_shards(folder, samples, **options))["train"]


def stream(name, split, batch, seed=0):
    clip = {"sample": "segment", "length": 3} if split.kind == "video" else {}
    return TrainStream(split, Plan(name, len(split), batch, seed), SIZE, **clip)


def rows(batch):
    """What each sample of a batch is: its key, its pixels, where the crop lies, which way round."""
    for k, key in enumerate(batch.keys):
        assert (key == "") == (batch.weights[k] == 0)
        if key:
            top, left, height, width = batch.cuts[k].tolist()
            seen = batch.frames[k][:, top : top + height, left : left + width]
            box = (batch.boxes[k, :2] - batch.cuts[k, :2]).tolist() + batch.boxes[k, 2:].tolist()
            pixels = hashlib.sha256(seen.numpy().tobytes()).hexdigest()
            yield batch.dataset, key, int(batch.labels[k]), pixels, box, bool(batch.flips[k])


def sequence(streams, steps, world, threads):
    """Read the updates `steps` in every rank, and return the samples of all in global order."""
    updates = [dict.fromkeys(streams, step) for step in steps]
    loaders = [
        UpdateLoader(streams, updates, rank=rank, world=world, threads=threads, prefetch=2)
        for rank in range(world)
    ]
    found = []
    for shares in zip(*map(list, loaders), strict=True):  # as many updates on every rank
        for name in streams:
            batches = [share[name] for share in shares]
            assert len({len(batch.keys) for batch in batches}) == 1  # and of equal size
            assert {batch.count for batch in batches} == {streams[name].plan.batch}
            found += [row for batch in batches for row in rows(batch)]
    return found


def fingerprint(found):
    return hashlib.sha256(repr(found).encode()).hexdigest()


def test_worlds_threads_and_resume_points_give_one_sequence(tmp_path):
    """Run with -s for the table."""
    splits = {"films": videos(tmp_path / "v", 7), "pics": images(tmp_path / "i", 11)}
    streams = {
        "films": stream("films", splits["films"], 5),
        "pics": stream("pics", splits["pics"], 4),
    }
    last = 6  # films: epochs end within step 1, 2, 4; pics: within 2 and 5
    prints = {}
    for world, threads, resumed in product(WORLDS, THREADS, (0, 1, 3)):
        found = sequence(streams, range(resumed), world, threads)
        found += sequence(streams, range(resumed, last), world, threads)
        prints[world, threads, resumed] = fingerprint(found)
        print(f"world {world}, threads {threads}, from step {resumed}: {fingerprint(found)[:16]}")
    assert len(prints) == 45
    assert len(set(prints.values())) == 1
    assert len({row[3] for row in found}) > 40  # the samples differ, so equality says something


@FEW
@given(
    counts=st.tuples(st.integers(1, 9), st.integers(1, 23)),
    batches=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    per_shard=st.integers(1, 9),
    before=st.sampled_from(list(product(WORLDS, THREADS))),
    after=st.sampled_from(list(product(WORLDS, THREADS))),
    cut=st.integers(0, 5),
    seed=st.integers(0, 2**31),
)
def test_a_run_may_change_hands(
    tmp_path_factory, counts, batches, per_shard, before, after, cut, seed
):
    """One process from the start, and others that take over from one another, read the same."""
    folder = tmp_path_factory.mktemp("elastic")
    films, pics = (
        videos(folder / "v", counts[0], per_shard),
        images(folder / "i", counts[1], per_shard),
    )
    streams = {
        "films": stream("films", films, batches[0], seed),
        "pics": stream("pics", pics, batches[1], seed),
    }
    whole = sequence(streams, range(5), 1, 1)
    first, second = sequence(streams, range(cut), *before), sequence(streams, range(cut, 5), *after)
    assert first + second == whole


@FEW
@given(
    count=st.integers(1, 12),
    per_shard=st.integers(1, 12),
    batch=st.integers(1, 9),
    world=st.sampled_from(WORLDS),
)
def test_every_epoch_holds_every_sample_once_over_all_ranks(
    tmp_path_factory, count, per_shard, batch, world
):
    """Uneven shards, fewer shards than ranks, fewer samples than ranks, batches above a dataset."""
    split = images(tmp_path_factory.mktemp("epochs"), count, per_shard)
    steps = -(-2 * count // batch)
    found = sequence({"pics": stream("pics", split, batch)}, range(steps), world, 1)
    keys = [key for _, key, *_ in found]
    assert len(keys) == steps * batch
    for epoch in range(2):
        assert sorted(keys[epoch * count : (epoch + 1) * count]) == [
            f"i{k:03d}" for k in range(count)
        ]


@settings(derandomize=True, deadline=None)
@given(batch=st.integers(1, 1000), world=st.integers(1, 300))
def test_the_ranks_share_a_batch_without_gap_or_overlap(batch, world):
    shares = [range(r * batch // world, (r + 1) * batch // world) for r in range(world)]
    assert [position for share in shares for position in share] == list(range(batch))
    assert max(map(len, shares)) == -(-batch // world)  # the size of every rank's batch


def test_datasets_of_very_different_sizes_go_on_side_by_side(tmp_path):
    """One of a single sample beside one of sixty: every epoch of either is whole."""
    small, large = videos(tmp_path / "v", 1), images(tmp_path / "i", 60, per_shard=59)
    streams = {"films": stream("films", small, 3), "pics": stream("pics", large, 20)}
    for world in (1, 4, 8):
        found = sequence(streams, range(6), world, 1)
        keys = {name: [key for dataset, key, *_ in found if dataset == name] for name in streams}
        assert keys["films"] == ["v000"] * 18
        for epoch in range(2):
            assert len(set(keys["pics"][60 * epoch : 60 * epoch + 60])) == 60


@FEW
@given(count=st.integers(1, 20), per_shard=st.integers(1, 20))
def test_evaluation_sees_every_sample_once_for_any_world(tmp_path_factory, count, per_shard):
    folder = tmp_path_factory.mktemp("views")
    samples = [(f"i{k:03d}", 0, [numbered(18, 18, k)]) for k in range(count)]
    split = open_dataset(write_shards(folder, samples, codec="ppm", per_shard=per_shard))["train"]
    for world, threads in product(WORLDS, THREADS):
        seen = []
        for rank in range(world):
            turns = range(rank, count, world)
            with ViewLoader(
                split, views=Views(1, 1), size=SIZE, indices=turns, threads=threads
            ) as loader:
                own = [
                    (sample.index, sample.key, int(sample.frames[0, 0, 0, 0])) for sample in loader
                ]
            assert len(own) <= -(-count // world)
            seen += own
        assert sorted(seen) == [(k, f"i{k:03d}", k) for k in range(count)]


def test_no_threads_means_the_caller_and_work_only_when_it_is_asked_for(tmp_path):
    split = images(tmp_path, 11)
    before = set(threading.enumerate())
    steps = iter(range(100))
    updates = ({"pics": step} for step in steps)
    with UpdateLoader({"pics": stream("pics", split, 4)}, updates, threads=0) as loader:
        next(loader)
        assert set(threading.enumerate()) == before
        assert next(steps) == 1


@pytest.mark.parametrize("threads", THREADS)
def test_what_goes_wrong_comes_out_whoever_reads(tmp_path, threads):
    split = images(tmp_path, 11)
    (tmp_path / "pics-train-000003.tar").unlink()
    with pytest.raises(InputError, match=r"pics: pics-train-000003\.tar: sample i00[67]: "):
        sequence({"pics": stream("pics", split, 4)}, range(20), 1, threads)
