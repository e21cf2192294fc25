"""Hostile tars of others and hostile folders of shards, given to `ivvit data` and `shard`."""

import gzip
import json
import os
import pickle
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import hostile_files as files
import pytest
from hostile import Outcome, Traps, faults, run_batch, traps
from hostile_files import member
from media import make_frames, write_image

from shards.convert.dataset import convert

ESC = "\x1b]0;owned\x07\x1b[31m"
Words = list[object]
Build = Callable[[Path, Traps], Words]


def tar(*members: bytes) -> Callable[[Traps], bytes]:
    """Return the content of a tar, after a sound sample."""
    return lambda _: sound() + b"".join(members) + bytes(1024)


def sound(key: str = "sound") -> bytes:
    """Return the members of a sound sample."""
    return member(f"{key}.ppm", b"P6 2 2 255\n" + bytes(12)) + member(f"{key}.cls", b"0")


def image(name: str, **others: bytes) -> bytes:
    """Return a sample whose further members are of any content."""
    more = b"".join(member(f"{name}.{end}", content) for end, content in others.items())
    return member(f"{name}.ppm", b"P6 2 2 255\n" + bytes(12)) + more


def index(content: Callable[[Traps], bytes], *options: str) -> Build:
    """Return what indexes a folder with one hostile tar."""

    def build(root: Path, trap: Traps) -> Words:
        root.mkdir()
        (root / "train-0.tar").write_bytes(content(trap))
        return ["data", "index", root, "-o", f"{root}-out", *options]

    return build


def converting(content: Callable[[Traps], bytes]) -> Build:
    """Return what converts the files in a hostile tar."""

    def build(root: Path, trap: Traps) -> Words:
        index(content)(root, trap)
        return ["shard", "webdataset", root, "-o", f"{root}-out"]

    return build


def packed(ending: str, contents: Callable[[Traps], tuple[bytes, ...]]) -> Callable[..., bytes]:
    """Return the content of a tar of files that have to be converted."""

    def content(trap: Traps) -> bytes:
        samples = (
            member(f"{number}.{ending}", data) + member(f"{number}.cls", b"0")
            for number, data in enumerate(contents(trap))
        )
        return b"".join(samples) + bytes(1024)

    return content


PAX = b"20 path=../../a.ppm\n"
PICKLED = pickle.dumps(files.Payload(Path("canary")))
JPEG = files.jpeg_of_scans(3000)
DEEP = b"[" * 100_000
TARS: dict[str, tuple[Build, int, str]] = {
    "pickle": (index(tar(image("a", cls=b"0", pyd=PICKLED))), 0, "is a pickle"),
    "pth": (index(tar(image("b", cls=b"0", pth=PICKLED))), 0, "is a pickle"),
    "up": (index(tar(image("../../../canary", cls=b"0"))), 0, "leads out of"),
    "root": (index(tar(image("/tmp/canary", cls=b"0"))), 0, ""),
    "names": (index(tar(image(f"{ESC}a\nb", cls=b"0"))), 0, ""),
    "label": (index(tar(image("a", txt=ESC.encode()))), 0, "its label is no class"),
    "pipe name": (index(tar(image("pipe:mkdir canary", cls=b"0"))), 0, ""),
    "symlink": (index(tar(member("a.ppm", kind=b"2"), member("a.cls", b"0"))), 0, "symbolic link"),
    "hard link": (index(tar(member("a.ppm", kind=b"1"), member("a.cls", b"0"))), 0, "hard link"),
    "device": (index(tar(member("a.ppm", kind=b"3"), member("a.cls", b"0"))), 0, "device"),
    "fifo": (index(tar(member("a.ppm", kind=b"6"), member("a.cls", b"0"))), 0, "pipe"),
    "pax": (index(tar(member("x", PAX, b"x"), image("a", cls=b"0"))), 0, "leads out of"),
    "pax large": (index(tar(member("x", b"1" * (2 << 20), b"x"))), 3, "extended header of"),
    "pax claim": (index(tar(member("x", b"", b"x", 1 << 40))), 3, "ends at byte"),
    "long name": (index(tar(member("x", b"", b"L", 1 << 40))), 3, "ends at byte"),
    "size": (index(tar(member("a.ppm", b"", size=1 << 62))), 3, "ends at byte"),
    "gzip": (index(lambda _: gzip.compress(bytes(8 << 20))), 3, "compressed by gzip"),
    "json": (index(tar(image("a", json=DEEP))), 0, "json"),
    "number": (index(tar(image("a", cls=b"9" * 5000))), 0, "label"),
    "offsets": (index(tar(member("v.mjpg", JPEG), member("v.cls", b"0"), member("v.json",
        b'{"offsets": [0, 1e999, -5, 99999999999999999999]}'))), 0, "offsets"),
    "ppm": (index(tar(member("a.ppm", b"P6 9999 9999 255\n"), member("a.cls", b"0"))), 0, "pixels"),
    "url": (lambda root, trap: ["data", "index", trap.url], 2, "is a URL"),
    "command": (lambda root, trap: ["data", "index", f"pipe:mkdir {trap.canary}"], 3, "no such"),
    "films": (converting(packed("mp4", lambda t: (files.concat_script(t.video).encode(),
        files.hls_playlist(t.url).encode(), files.gif((1, 1), (1, 1), 40_000)))), 3, "nothing"),
    "pictures": (converting(packed("webp", lambda t: (files.webp(16384, 16384), JPEG,
        f"<svg>{t.url}".encode()))), 3, "nothing could"),
}  # fmt: skip


def shards(change: Callable[[Path, Traps], None], *words: str) -> Build:
    """Return what changes a small folder of shards and gives it to a command."""

    def build(root: Path, trap: Traps) -> Words:
        shutil.copytree(root.parent / "base", root / "out")
        change(root / "out", trap)
        return [*words, root / "out"]

    return build


def document(**changes: object) -> Callable[[Path, Traps], None]:
    """Return what replaces entries of dataset.json, at any depth by `__`."""

    def change(out: Path, trap: Traps) -> None:
        path = out / "dataset.json"
        whole = json.loads(path.read_text())
        for name, value in changes.items():
            *outer, last = name.split("__")
            place = whole
            for key in outer:
                place = place[int(key) if key.isdecimal() else key]
            place[last] = str(trap.text) if value == "secret" else value
        path.write_text(json.dumps(whole))

    return change


def raw(name: str, content: bytes) -> Callable[[Path, Traps], None]:
    """Return what replaces a file."""
    return lambda out, _: (out / name).write_bytes(content)


def record(field: int, number: int) -> Callable[[Path, Traps], None]:
    """Return what overwrites 8 bytes of the index, counted from its end."""

    def change(out: Path, _: Traps) -> None:
        path = out / "src-train.index"
        content = bytearray(path.read_bytes())
        struct.pack_into("<Q", content, len(content) + field, number)
        path.write_bytes(content)

    return change


def swapped(name: str, make: Callable[[Path, Traps], None]) -> Callable[[Path, Traps], None]:
    """Return what puts something that is no file in the place of a file."""

    def change(out: Path, trap: Traps) -> None:
        (out / name).unlink(missing_ok=True)
        make(out / name, trap)

    return change


def fifo(path: Path, _: Traps) -> None:
    """Make a pipe."""
    os.mkfifo(path)


def zero(path: Path, _: Traps) -> None:
    """Make a link to a file without end."""
    path.symlink_to("/dev/zero")


def victim(path: Path, trap: Traps) -> None:
    """Make a link to a file that must stay as it is."""
    path.symlink_to(trap.victim)


UP = "../../../outside/secret.txt"
SHARD = "splits__train__shards__0__file"
HEADER = struct.pack("<8sII", b"ivvitidx", 1, 0xFFFFFFF0)
SHOW, VERIFY, LS = ("data", "show"), ("data", "verify"), ("data", "ls")
FOLDERS: dict[str, tuple[Build, int, str]] = {
    "deep": (shards(raw("dataset.json", DEEP), *SHOW), 3, "cannot be read"),
    "shard up": (shards(document(**{SHARD: UP}), *SHOW), 3, "dataset.json"),
    "shard root": (shards(document(**{SHARD: "secret"}), *VERIFY), 1, "problem"),
    "index up": (shards(document(splits__train__index=UP), *SHOW), 3, "json"),
    "classes": (shards(document(classes=[f"{ESC}a", "b\n"], name=f"{ESC}n"), *SHOW), 0, "owned"),
    "classes ls": (shards(document(classes=[f"{ESC}a", "b\n"], name=f"{ESC}n"), *LS), 0, ""),
    "options": (shards(document(options={ESC: ESC}, tools={ESC: ESC}), *SHOW), 0, "owned"),
    "header": (shards(raw("src-train.index", HEADER), *SHOW), 3, "sample index"),
    "header deep": (shards(raw("src-train.index", struct.pack("<8sII", b"ivvitidx", 1, 100_000)
        + DEEP), *SHOW), 3, "sample index"),
    "offset": (shards(record(-12, 1 << 62), *SHOW), 3, "ends before byte"),
    "offset verify": (shards(record(-12, 1 << 62), *VERIFY), 1, "problem"),
    "index pipe": (shards(swapped("src-train.index", fifo), *SHOW), 3, "index"),
    "index pipe verify": (shards(swapped("src-train.index", fifo), *VERIFY), 1, "problem"),
    "tar pipe": (shards(swapped("src-train-000000.tar", fifo), *SHOW), 3, "tar"),
    "tar pipe verify": (shards(swapped("src-train-000000.tar", fifo), *VERIFY), 1, "problem"),
    "tar zero": (shards(swapped("src-train-000000.tar", zero), *SHOW), 3, "bytes long"),
    "manifest pipe": (shards(swapped("dataset.json", fifo), *SHOW), 3, "cannot be read"),
    "manifest zero": (shards(swapped("dataset.json", zero), *LS), 0, ""),
    "sheet": (shards(swapped("contact-sheet.png", victim), *SHOW), 0, "contact sheet"),
}  # fmt: skip
CASES = {f"tar {name}": case for name, case in TARS.items()} | {
    f"folder {name}": case for name, case in FOLDERS.items()
}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """Return the outcome of each case, what `data show` says of what was written, and the traps."""
    root = tmp_path_factory.mktemp("shards")
    for label in "ab":
        write_image(root / f"src/train/{label}/0.png", make_frames(1)[0])
    convert("imagefolder", root / "src", root / "base")
    with traps(root) as trap:
        commands = {
            name: build(root / name.replace(" ", "-"), trap) for name, (build, *_) in CASES.items()
        }
        done = run_batch(commands, cwd=root)
        written = [path.parent for path in root.glob("*-out/dataset.json")]
        shown = run_batch({path.name: ["data", "show", path] for path in written}, cwd=root)
        escaped = {path.name for path in root.rglob("*canary*")}
        yield done, shown, trap.sprung(*written), escaped


def test_no_trap_goes_off(outcomes) -> None:
    _, _, sprung, escaped = outcomes
    assert sprung == set()
    assert escaped == set()


@pytest.mark.parametrize("name", CASES)
def test_each_ends_with_its_message(outcomes, name: str) -> None:
    _, code, message = CASES[name]
    outcome: Outcome = outcomes[0][name]
    assert faults(outcome, codes=(code,)) == []
    assert message in outcome.printed


def test_what_was_indexed_is_shown_without_control_characters(outcomes) -> None:
    shown = outcomes[1]
    assert len(shown) > 10
    assert {name: faults(outcome) for name, outcome in shown.items() if faults(outcome)} == {}
