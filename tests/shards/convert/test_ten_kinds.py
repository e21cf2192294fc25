"""The ten kinds of damage that tars of samples can have, most of which plain readers pass over.

`data verify` finds all of them; `data index` those that can be told without a checksum. (Two of the
ten are done in two ways.)
"""

import gc
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import layouts
import pytest
import webdataset
from foreign_tars import Files, plain_files, write_tar

from shards.convert.dataset import convert
from shards.convert.foreign.index import index_tars, prepare_index
from shards.convert.verify import verify
from shards.errors import InputError

Damage = Callable[[Path], None]


def members(path: Path) -> Files:
    with tarfile.open(path) as tar:
        return [(each.name, tar.extractfile(each).read()) for each in tar]


def rewritten(change: Callable[[Files], Files]) -> Damage:
    return lambda path: write_tar(path, change(members(path))) and None


def heads(path: Path) -> list[int]:
    with tarfile.open(path) as tar:
        return [each.offset for each in tar.getmembers()]


def cut_within(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: heads(path)[3] + 700])


def cut_between(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: heads(path)[4]])


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def picture(files: Files) -> int:
    return next(n for n, (name, _) in enumerate(files) if name.endswith((".png", ".mjpg")))


def cut_picture(files: Files) -> Files:
    place = picture(files)
    name, data = files[place]
    return [*files[:place], (name, data[: len(data) // 2]), *files[place + 1 :]]


def flip_in_picture(path: Path) -> None:
    start = heads(path)[picture(members(path))] + 512
    data = path.read_bytes()
    flip(path, start + len(members(path)[picture(members(path))][1]) // 2)
    assert path.read_bytes() != data


def sample(files: Files) -> Files:
    return [file for file in files if file[0].partition(".")[0] == files[0][0].partition(".")[0]]


def with_a_dot(files: Files) -> Files:
    key = files[0][0].partition(".")[0]
    return [(name.replace(f"{key}.", f"{key}.v1."), data) for name, data in files]


def mixed(files: Files) -> Files:
    size = len(sample(files))
    pairs = zip(files[:size], files[size : 2 * size], strict=True)
    return [file for pair in pairs for file in pair] + files[2 * size :]


TEN: dict[str, tuple[Damage, set[str]]] = {
    "cut within a member": (cut_within, {"truncated"}),
    "cut between two members": (cut_between, {"truncated"}),
    "a bit of a header": (lambda path: flip(path, heads(path)[3] + 130), {"header"}),
    "no byte": (lambda path: path.write_bytes(b"") and None, {"empty_shard"}),
    "no file": (Path.unlink, {"missing_shard"}),
    "a cut picture": (rewritten(cut_picture), {"bad_media", "truncated", "checksum"}),
    "a bit of a picture": (flip_in_picture, {"bad_media", "checksum"}),
    "a key again, later": (rewritten(lambda f: [*f, *sample(f)]), {"duplicate_key"}),
    "a key again, at once": (rewritten(lambda f: [*sample(f), *f]), {"duplicate_key"}),
    "no .cls": (rewritten(lambda f: [x for x in f if x != _cls(f)]), {"missing_member"}),
    "mixed members": (rewritten(mixed), {"interleaved"}),
    "a dot in a key": (rewritten(with_a_dot), {"missing_member"}),
}


def _cls(files: Files) -> tuple[str, bytes]:
    return next(file for file in files if file[0].endswith(".cls"))


@pytest.fixture(scope="module")
def ours(tmp_path_factory) -> dict[str, Path]:
    """Return shards of images and of videos."""
    folder = tmp_path_factory.mktemp("ours")
    layouts.imagefolder(folder / "images/set", 3, ("train",))
    layouts.videofolder(folder / "videos/set", 1)
    for kind in ("image", "video"):
        convert(f"{kind}folder", folder / f"{kind}s/set", folder / kind)
    return {kind: folder / kind for kind in ("image", "video")}


@pytest.mark.parametrize("name", TEN)
@pytest.mark.parametrize("kind", ["image", "video"])
def test_verify_finds_it_in_our_shards(tmp_path: Path, ours, kind: str, name: str) -> None:
    shutil.copytree(ours[kind], tmp_path / "out")
    damage, kinds = TEN[name]
    damage(tmp_path / "out/set-train-000000.tar")
    report = verify(tmp_path / "out")
    assert {problem.kind for problem in report.problems} & kinds


@pytest.mark.parametrize("checksum", [False, True])
@pytest.mark.parametrize("name", TEN)
def test_verify_finds_it_in_tars_of_others(tmp_path: Path, name: str, checksum: bool) -> None:
    path = write_tar(tmp_path / "set/a-train.tar", plain_files())
    index_tars(tmp_path / "set", checksum=checksum)
    assert verify(tmp_path / "set").ok
    damage, kinds = TEN[name]
    damage(path)
    report = verify(tmp_path / "set")
    assert {problem.kind for problem in report.problems} & kinds


@pytest.mark.parametrize("name", TEN)
def test_an_index_leaves_it_out_and_says_so(tmp_path: Path, name: str) -> None:
    write_tar(tmp_path / "set/b-train.tar", plain_files(4))
    path = write_tar(tmp_path / "set/a-train.tar", plain_files())
    TEN[name][0](path)
    report = index_tars(tmp_path / "set")
    if name in ("no file", "a bit of a picture"):  # nothing but a checksum or decoding tells
        assert report.skipped == 0
        return
    assert report.skipped >= 1
    assert all(reason.startswith("a-train.tar") for reason in report.reasons)
    rows = (tmp_path / "set/skipped.jsonl").read_text().splitlines()
    assert len(rows) == report.skipped == report.listed - report.written
    assert verify(tmp_path / "set").ok
    with pytest.raises(InputError, match=r"set/a-train\.tar"):
        prepare_index(tmp_path / "set").run(on_bad="fail")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # it leaves files
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_webdataset_itself_passes_over_most_of_it(tmp_path: Path) -> None:
    """Keep the list honest: these are the kinds that a plain reader takes without a word."""
    taken = []
    for name in TEN.keys() - {"no file"}:
        path = write_tar(tmp_path / "a.tar", plain_files())
        TEN[name][0](path)
        stream = webdataset.WebDataset(str(path), shardshuffle=False, empty_check=False)
        try:
            taken += [name] * bool(list(stream))
        except Exception:
            continue
    gc.collect()
    assert set(taken) >= {"cut between two members", "a bit of a header", "a key again, later"}
    assert set(taken) >= {"no .cls", "mixed members", "a dot in a key"}
