"""Shards at a URL give what the same shards give in a folder, and each fault takes one line."""

import hashlib
import json
import threading
import time

import fsspec
import numpy as np
import pytest
from fsspec.registry import known_implementations
from naive_shards import picture, write_shards
from web import served

from shards import open_dataset
from shards.errors import EnvironmentFault, InputError, UsageError
from shards.index import open_index, write_index
from shards.manifest import read_dataset_info, write_dataset_info
from shards.stream.loader import TrainStream, UpdateLoader
from shards.stream.plan import Plan
from shards.stream.remote import downloads, folder, shards
from shards.stream.remote.cache import Cache
from shards.stream.views import ViewLoader, Views

TAR = "toy-train-{:06d}.tar"
SAMPLES = 9  # three to a shard


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(folder, "PAUSES", (0.01,) * 4)


@pytest.fixture
def local(tmp_path):
    samples = [
        (f"v{i}", i % 2, [picture(40, 56, 20 * i + t) for t in range(12)]) for i in range(SAMPLES)
    ]
    return write_shards(tmp_path / "data", samples, kind="video")


@pytest.fixture
def web(local):
    pytest.importorskip("aiohttp", reason="fsspec's https:// needs aiohttp")
    with served(local) as server:
        yield server


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path / "cache", 10**9)


@pytest.fixture(params=["memory", "file", "http"])
def url(request, local):
    if request.param == "http":
        yield request.getfixturevalue("web").url
    elif request.param == "file":
        yield f"file://{local}"
    else:
        system = fsspec.filesystem("memory")
        system.put(f"{local}/", "/bucket/toy", recursive=True)
        yield "memory://bucket/toy"
        system.rm("/bucket", recursive=True)


def wait_for(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def settled(cached, count=3):
    """Wait until so many shards are in the cache, and none on its way."""
    wait_for(lambda: len(list(cached.glob("*/*.tar"))) >= count and not downloading())


def downloading():
    return [thread for thread in threading.enumerate() if thread.name == "ivvit-download"]


def test_the_samples_are_those_of_the_folder(url, local, cache):
    here, there = open_dataset(local)["train"], open_dataset(url, cache)["train"]
    assert there.is_remote
    assert not here.is_remote
    for i in (*range(SAMPLES), 4, 0):
        assert there[i] == here[i]
        assert there.read(i, [11, 0, 3]) == here.read(i, [11, 0, 3])
    settled(cache.folder)
    for i in range(SAMPLES):
        assert there[i] == here[i]


def test_only_the_frames_are_read_of_what_is_not_here(web, local, cache, monkeypatch):
    monkeypatch.setattr(downloads.Downloads, "want", lambda self, shards: None)
    monkeypatch.setattr(shards, "_BRIDGE", 100)
    split = open_dataset(web.url, cache)["train"]
    frames = split.read(4, [2, 3, 9])
    places = open_dataset(local)["train"].places(4)
    start = [int(place["offset"]) for place in places]
    # The two ranges are asked for side by side, so that either may come first.
    assert sorted(web.asked(TAR.format(1))) == [(start[2], start[4]), (start[9], start[10])]
    assert frames == open_dataset(local)["train"].read(4, [2, 3, 9])
    assert not list(cache.folder.glob("*/*.tar"))


def test_a_shard_is_fetched_once_and_for_all(web, cache):
    split = open_dataset(web.url, cache)["train"]
    for i in range(SAMPLES):
        split.read(i)
    settled(cache.folder)
    web.requests.clear()
    again = open_dataset(web.url, cache)["train"]
    assert [again[i].key for i in range(SAMPLES)] == [f"v{i}" for i in range(SAMPLES)]
    assert [name for _, name, _ in web.requests] == ["dataset.json"]


def test_a_dataset_larger_than_the_cache_is_not_fetched_over_and_over(
    web, local, cache, monkeypatch
):
    size = (local / TAR.format(0)).stat().st_size
    index = (local / "toy-train.index").stat().st_size
    small = Cache(cache.folder, index + 2 * size + size // 2)
    here, there = open_dataset(local)["train"], open_dataset(web.url, small)["train"]
    for _ in range(3):
        for i in range(SAMPLES):
            assert there.read(i) == here.read(i)
    settled(cache.folder, 2)
    whole = [web.asked(TAR.format(k)).count((0, size)) for k in range(3)]
    assert sorted(whole) == [0, 1, 1]
    asked = []
    monkeypatch.setattr(Cache, "make_room", lambda *args: asked.append(args))
    for i in range(SAMPLES):
        assert there.read(i)
    assert not asked  # nothing is counted again for each sample
    assert sum(path.stat().st_size for path in cache.folder.rglob("*")) < small.limit + 2**14


def test_a_server_without_byte_ranges_is_waited_for(web, local, cache):
    web.ranges = False
    here, there = open_dataset(local)["train"], open_dataset(web.url, cache)["train"]
    for i in (8, 0, 1, 7):
        assert there[i] == here[i]
    assert [web.asked(TAR.format(k)) for k in range(3)] == [[None], [], [None]]
    size = (local / TAR.format(0)).stat().st_size
    small = open_dataset(web.url, Cache(cache.folder.parent / "small", size))["train"]
    with pytest.raises(EnvironmentFault, match=r"sample v0: the cache .* has no room for .* GB"):
        small.read(0)


def test_shards_are_asked_for_in_the_order_of_the_plan(web, cache, monkeypatch):
    monkeypatch.setattr(downloads, "THREADS", 1)
    monkeypatch.setattr(shards.RemoteShards, "_read_ranges", lambda self, shard, rows: 1 / 0)
    split = open_dataset(web.url, cache)["train"]
    plan = Plan("toy", SAMPLES, 2, 1)
    stream = TrainStream(split, plan, 32, sample="uniform", length=2)
    loader = UpdateLoader({"toy": stream}, [{"toy": 5}], threads=1)
    with pytest.raises(InputError):  # reading fails: all that is fetched was foreseen
        next(loader)
    settled(cache.folder)
    order = [int(i) // 3 for step in range(5, 15) for i in plan.indices(step)]
    fetched = [name for how, name, span in web.requests if how == "GET" and name.endswith(".tar")]
    assert fetched == [TAR.format(k) for k in dict.fromkeys(order)]


def test_loaders_give_the_same_batches_and_views(url, local, cache):
    def batches(place):
        split = open_dataset(place, cache)["train"]
        stream = TrainStream(split, Plan("toy", SAMPLES, 4, 0), 32, sample="uniform", length=2)
        with UpdateLoader({"toy": stream}, ({"toy": step} for step in range(5))) as loader:
            return [update["toy"] for update in loader]

    def views(place):
        split = open_dataset(place, cache)["train"]
        with ViewLoader(split, views=Views(2, 1), size=32, sample="uniform", length=2) as loader:
            return list(loader)

    for here, there in zip(batches(local), batches(url), strict=True):
        assert here.keys == there.keys
        assert here.frames.equal(there.frames)
    for here, there in zip(views(local), views(url), strict=True):
        assert here.key == there.key
        assert here.frames.equal(there.frames)


def test_the_server_may_fail_for_a_while(web, cache):
    web.failures = {"dataset.json": 1, "toy-train.index": 4, TAR.format(0): 4}
    split = open_dataset(web.url, cache)["train"]
    assert len(split.read(0)) == 12


@pytest.mark.parametrize(
    ("status", "fault", "text"),
    [
        (404, InputError, "no such file"),
        (403, EnvironmentFault, "access denied"),
        (500, EnvironmentFault, "cannot be read: 500"),
    ],
)
@pytest.mark.parametrize("name", ["dataset.json", "toy-train.index", TAR.format(0)])
def test_a_server_that_refuses(web, cache, status, fault, text, name):
    web.status[name] = status
    with pytest.raises(fault, match=rf"{web.url}/{name}: {text}") as caught:
        open_dataset(web.url, cache)["train"].read(0)
    assert "\n" not in caught.value.message


def test_a_host_that_is_not_there(cache):
    pytest.importorskip("aiohttp", reason="fsspec's https:// needs aiohttp")
    for url in ("https://no-such-host.invalid/toy", "http://127.0.0.1:9/toy"):
        with pytest.raises(EnvironmentFault, match=rf"^{url}/dataset\.json: cannot be read: "):
            open_dataset(url, cache)


def test_urls_that_nothing_opens(cache, monkeypatch):
    with pytest.raises(UsageError, match=r"^nope://x/y: cannot be opened"):
        open_dataset("nope://x/y", cache)
    monkeypatch.setitem(known_implementations, "far", {"class": "far_fs.X", "err": "Install far"})
    with pytest.raises(EnvironmentFault, match=r"far:// is not installed") as caught:
        open_dataset("far://x/y", cache)
    assert caught.value.hint == "Install far"


def test_a_shard_that_became_longer(web, cache):
    web.change[TAR.format(1)] = lambda data: data + b"x"
    split = open_dataset(web.url, cache)["train"]
    with pytest.raises(InputError, match=r"toy-train-000001\.tar: sample v4: the shard is \d+ by"):
        split.read(4)


def test_a_shard_with_other_bytes_is_never_kept_and_ends_the_reading(web, cache):
    web.change[TAR.format(0)] = lambda data: data[:-1] + b"x"  # far behind every frame
    split = open_dataset(web.url, cache)["train"]
    split.read(0)
    wait_for(lambda: not downloading())
    with pytest.raises(InputError, match=r"sample v0: .*: is not the file that dataset\.json desc"):
        split.read(0)
    assert not list(cache.folder.glob("*/*.tar"))
    whole = (web.folder / TAR.format(0)).stat().st_size
    assert web.asked(TAR.format(0)).count((0, whole)) == 2  # once more, before it is given up


def test_bytes_that_went_wrong_once_are_fetched_again(web, cache):
    spoilt = []

    def spoil(data):
        spoilt.append(1)
        return data if len(spoilt) > 1 else data[:-1] + b"x"

    web.change["toy-train.index"] = spoil
    web.requests.clear()
    assert len(open_dataset(web.url, cache)["train"]) == SAMPLES
    assert len(spoilt) >= 2


def test_an_index_that_is_another(web, cache):
    web.change["toy-train.index"] = lambda data: data[:-1] + bytes([data[-1] ^ 1])
    with pytest.raises(InputError, match=r"toy-train\.index: is not the file that dataset\.json"):
        open_dataset(web.url, cache)["train"]
    web.change["toy-train.index"] = lambda data: data + bytes(1 << 21)
    with pytest.raises(InputError, match=r"toy-train\.index: is \d+ bytes long, which does not"):
        open_dataset(web.url, cache)["train"]


def test_an_index_that_names_bytes_beyond_a_shard(web, local, cache):
    index = open_index(local / "toy-train.index")
    places = index.frames.copy()
    places["size"][5] = 2**32 - 1
    write_index(local / "toy-train.index", {}, index.samples, places)
    info = read_dataset_info(local)
    digest = hashlib.sha256((local / "toy-train.index").read_bytes()).hexdigest()
    split = info.splits["train"].model_copy(update={"index_sha256": digest})
    write_dataset_info(local, info.model_copy(update={"splits": {"train": split}}))
    hostile = open_dataset(web.url, cache)["train"]
    with pytest.raises(InputError, match="sample v0: the index names bytes beyond the shard's"):
        hostile.read(0, [5])
    assert not web.asked(TAR.format(0))


def test_a_dataset_that_is_replaced_is_another_dataset(web, local, cache):
    before = open_dataset(web.url, cache)["train"]
    assert before.label(0) == 0
    write_shards(local, [("w", 1, [picture(40, 56, 3)])], kind="video")
    after = open_dataset(web.url, cache)["train"]
    assert (after.key(0), len(after)) == ("w", 1)


def test_a_manifest_of_no_sense(web, local, cache):
    document = json.loads((local / "dataset.json").read_text())
    document["splits"]["train"]["shards"][0]["file"] = "../../escape"
    (local / "dataset.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match=rf"^{web.url}/dataset\.json: .*'\.\./\.\./escape' is not"):
        open_dataset(web.url, cache)


def test_reading_from_many_threads(web, local, cache):
    here, there = open_dataset(local)["train"], open_dataset(web.url, cache)["train"]
    order = np.random.default_rng(0).integers(0, SAMPLES, 200).tolist()
    wrong = []

    def read(part):
        wrong.extend(i for i in part if there.read(i) != here.read(i))

    threads = [threading.Thread(target=read, args=(order[k::8],)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    settled(cache.folder)
    size = (local / TAR.format(0)).stat().st_size
    assert [web.asked(TAR.format(k)).count((0, size)) for k in range(3)] == [1, 1, 1]
