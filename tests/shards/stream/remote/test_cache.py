"""The cache: bounded, shared by processes, and whole whatever happens to them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from naive_shards import picture, write_shards
from web import served

from shards import open_dataset
from shards.errors import EnvironmentFault, UsageError
from shards.manifest import read_dataset_info
from shards.stream.remote import cache as cache_module
from shards.stream.remote.cache import Cache
from shards.stream.remote.download import download
from shards.stream.remote.folder import RemoteFolder
from shards.stream.remote.settings import choose_cache, parse_size

TAR = "toy-train-{:06d}.tar"

READ = """
import sys, time
from shards import open_dataset
from shards.stream.remote import download, downloads
from shards.stream.remote.cache import Cache
from pathlib import Path

url, folder = sys.argv[1:]
download.CHUNK = 4096
split = open_dataset(url, Cache(Path(folder), 10**9))["train"]
print("open", flush=True)
for i in range(len(split)):
    split.read(i)
while len(list(Path(folder).glob("*/*.tar"))) < 3:
    time.sleep(0.01)
"""


@pytest.fixture
def local(tmp_path):
    samples = [(f"v{i}", 0, [picture(40, 56, 20 * i + t) for t in range(12)]) for i in range(9)]
    return write_shards(tmp_path / "data", samples, kind="video")


@pytest.fixture
def web(local):
    pytest.importorskip("aiohttp", reason="fsspec's https:// needs aiohttp")
    with served(local) as server:
        yield server


def reader(url, folder):
    code = [sys.executable, "-c", READ, url, str(folder)]
    return subprocess.Popen(code, stdout=subprocess.PIPE)


def filled(cache, digest, sizes):
    """A dataset's files in the cache, made here; nobody has it open afterwards."""
    dataset = cache.open(digest)
    for name, size in sizes.items():
        with dataset.claim(name, size, wait=True) as descriptor:
            os.write(descriptor, bytes(size))
    return dataset.folder


def names(folder):
    return sorted(path.name for path in folder.iterdir() if path.name != "use")


def test_processes_fetch_each_byte_once(web, tmp_path):
    web.delay = 0.01
    processes = [reader(web.url, tmp_path / "cache") for _ in range(3)]
    assert [process.wait(timeout=120) for process in processes] == [0, 0, 0]
    for k in range(3):
        size = (web.folder / TAR.format(k)).stat().st_size
        chunks = [(start, min(start + 4096, size)) for start in range(0, size, 4096)]
        asked = web.asked(TAR.format(k))
        assert [asked.count(chunk) for chunk in chunks] == [1] * len(chunks)
    assert all(process.stdout.close() is None for process in processes)


def test_a_killed_download_goes_on_where_it_was(web, tmp_path):
    web.delay = 0.05
    process = reader(web.url, tmp_path / "cache")
    part = f"{TAR.format(0)}.*.part"
    while not any(path.stat().st_size > 8192 for path in tmp_path.glob(f"cache/*/{part}")):
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    (left,) = tmp_path.glob(f"cache/*/{part}")
    done = left.stat().st_size
    assert not list(tmp_path.glob(f"cache/*/{TAR.format(0)}"))
    web.delay = 0
    web.requests.clear()
    again = reader(web.url, tmp_path / "cache")
    assert again.wait(timeout=120) == 0
    again.stdout.close()
    chunks = [span for span in web.asked(TAR.format(0)) if span[1] - span[0] <= 4096]
    assert min(start for start, _ in chunks) == done
    (whole,) = tmp_path.glob(f"cache/*/{TAR.format(0)}")
    assert whole.read_bytes() == (web.folder / TAR.format(0)).read_bytes()
    assert not list(tmp_path.glob("cache/*/*.part"))


def test_what_is_left_of_another_file_is_found_out(web, tmp_path):
    info = read_dataset_info(web.folder).splits["train"].shards[0]
    dataset = Cache(tmp_path / "cache", 10**9).open("a" * 64)
    (dataset.folder / f"{info.file}.{info.bytes}.part").write_bytes(b"something else")
    path = download(
        RemoteFolder(web.url), dataset, info.file, size=info.bytes, sha256=info.sha256, wait=True
    )
    assert path.read_bytes() == (web.folder / info.file).read_bytes()
    assert web.asked(info.file) == [(14, info.bytes), (0, info.bytes)]


def test_unused_datasets_make_way_the_oldest_first(tmp_path):
    cache = Cache(tmp_path, 1000)
    old = filled(cache, "a" * 64, {"1": 300, "2": 300})
    new = filled(cache, "b" * 64, {"3": 300})
    os.utime(old / "use", (1000, 1000))
    os.utime(old / "1", (20, 20))
    os.utime(old / "2", (10, 10))
    third = filled(cache, "c" * 64, {"4": 300})
    assert [names(each) for each in (old, new, third)] == [["1"], ["3"], ["4"]]
    os.utime(new / "use", (500, 500))
    assert names(filled(cache, "d" * 64, {"5": 100})) == ["5"]  # which fits
    assert [names(each) for each in (old, new)] == [["1"], ["3"]]
    filled(cache, "d" * 64, {"6": 300})
    assert [names(each) for each in (old, new)] == [["1"], []]


def test_opening_a_dataset_makes_it_the_newest(tmp_path):
    cache = Cache(tmp_path, 1000)
    first, second = filled(cache, "a" * 64, {"1": 400}), filled(cache, "b" * 64, {"2": 400})
    for folder, moment in ((first, 10), (second, 20)):
        os.utime(folder / "use", (moment, moment))
    cache.open("a" * 64)
    filled(cache, "c" * 64, {"3": 400})
    assert (names(first), names(second)) == (["1"], [])


def test_what_is_open_stays_and_nothing_goes_in_vain(tmp_path):
    cache = Cache(tmp_path, 1000)
    idle = filled(cache, "a" * 64, {"1": 200})
    opened = cache.open("b" * 64)
    filled(cache, "b" * 64, {"2": 700})
    with (
        pytest.raises(cache_module.NoRoom),
        cache.open("c" * 64).claim("3", 400, wait=True),
    ):
        pass
    assert (names(idle), names(opened.folder)) == (["1"], ["2"])
    del opened
    assert names(filled(cache, "c" * 64, {"3": 400})) == ["3"]


def test_what_is_on_its_way_counts_as_a_whole(tmp_path):
    cache = Cache(tmp_path, 1000)
    dataset = cache.open("a" * 64)
    with dataset.claim("1", 600, wait=True):
        with pytest.raises(cache_module.NoRoom), dataset.claim("2", 500, wait=False):
            pass
        with pytest.raises(cache_module.Busy), dataset.claim("1", 600, wait=False):
            pass
        with dataset.claim("3", 400, wait=False):
            pass


def test_other_files_in_the_cache_are_left_alone(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "use").touch()
    (tmp_path / "mine" / "thesis").write_bytes(bytes(900))
    cache = Cache(tmp_path, 1000)
    filled(cache, "a" * 64, {"1": 800})
    filled(cache, "b" * 64, {"2": 800})
    assert (tmp_path / "mine" / "thesis").exists()


def test_a_disk_that_is_nearly_full_is_not_filled(tmp_path, monkeypatch):
    monkeypatch.setattr(cache_module, "SPARE", 1.0)
    with (
        pytest.raises(cache_module.NoRoom),
        Cache(tmp_path, 10**15).open("a" * 64).claim("1", 1, wait=True),
    ):
        pass


FULL = """
import resource, signal, sys
from pathlib import Path
from shards import open_dataset
from shards.stream.remote.cache import Cache
from shards.errors import EnvironmentFault

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    open_dataset(sys.argv[1], Cache(Path(sys.argv[2]), 10**9))["train"]
except EnvironmentFault as fault:
    print(fault)
"""


def test_a_disk_that_is_full_all_the_same(local, tmp_path):
    command = [sys.executable, "-c", FULL, f"file://{local}", str(tmp_path / "cache")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout == f"the cache {tmp_path / 'cache'} cannot be written: File too large\n"


def test_a_cache_that_is_no_folder(local, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(EnvironmentFault, match=r"file/cache cannot be written: Not a directory"):
        open_dataset(f"file://{local}", Cache(tmp_path / "file" / "cache", 10**9))


def test_where_the_cache_is_and_how_large(monkeypatch):
    for name in ("IVVIT_CACHE", "IVVIT_CACHE_LIMIT", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/ann")
    assert choose_cache() == Cache(Path("/home/ann/.cache/ivvit"), 100 * 10**9)
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert choose_cache(limit="2.5TB") == Cache(Path("/xdg/ivvit"), 2_500 * 10**9)
    monkeypatch.setenv("IVVIT_CACHE", "~/c")
    monkeypatch.setenv("IVVIT_CACHE_LIMIT", "7 MB")
    assert choose_cache() == Cache(Path("/home/ann/c"), 7 * 10**6)
    assert choose_cache("/d", "1KB") == Cache(Path("/d"), 1000)


@pytest.mark.parametrize("text", ["", "much", "-1GB", "1 gb", "1e3"])
def test_a_limit_that_is_no_size(text):
    with pytest.raises(UsageError, match="is no size"):
        parse_size(text)
