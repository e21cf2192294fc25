"""`ivvit shard imagefolder` on a folder of hostile pictures: the sound ones, and nothing else."""

import json
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path

import hostile_files as files
import pytest
from hostile import Traps, faults, run_ivvit, traps
from media import make_frames, write_image

NO_IMAGE = "is not an image of an allowed format"
TOO_LARGE = "more than 40 Mpx"
CONVERTED = ""
SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" xmlns:x="http://www.w3.org/1999/xlink">'
    '<image x:href="{0}" width="9" height="9"/></svg>'
)
EPS = "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%pipe%mkdir {0}) (r) file\nshowpage\n"
ENTRIES = struct.pack("<2sHIH", b"II", 42, 8, 0xFFFF) + b"\x12\x01\x04\0\xff\xff\xff\xff" * 9

# name -> (content from the traps, what is expected: a part of the reason, or CONVERTED)
Case = tuple[Callable[[Traps], bytes], str]
CASES: dict[str, Case] = {
    "bomb.png": (lambda _: files.png(20_000, 20_000), TOO_LARGE),
    "forty.png": (lambda _: files.png(8000, 6000), TOO_LARGE),
    "wide.png": (lambda _: files.png(70_000, 2), "a side of more than 65535"),
    "profile.png": (lambda _: files.png_with_bomb(b"iCCP"), NO_IMAGE),
    "text.png": (lambda _: files.png_with_bomb(b"zTXt"), NO_IMAGE),
    "endless.png": (lambda _: files.png(8, 8, pixels=bytes(4 << 20)), CONVERTED),
    "short.png": (lambda _: files.png(1000, 1000), "cannot be decoded"),
    "screen.gif": (lambda _: files.gif((65535, 65535), (1, 1)), TOO_LARGE),
    "frame.gif": (lambda _: files.gif((1, 1), (65535, 65535)), TOO_LARGE),
    "frames.gif": (lambda _: files.gif((1, 1), (1, 1), 50_000), CONVERTED),
    "scans.jpg": (lambda _: files.jpeg_of_scans(3000), "has more than 100 scans"),
    "exif.jpg": (lambda _: files.jpeg_with_exif(ENTRIES), CONVERTED),
    "gaps.bmp": (lambda _: files.bmp_of_gaps(40_000_000, 1), "a side of more than 65535"),
    "strips.tif": (lambda _: files.tiff(60_000, 60_000), TOO_LARGE),
    "tags.tif": (lambda _: files.tiff(8, 8, (270, 2, 0xFFFFFFFF, 0)), CONVERTED),
    "jpeg.tif": (lambda _: files.tiff(8, 8, (259, 3, 1, 7)), "JPEG strips"),
    "canvas.webp": (lambda _: files.webp(16384, 16384), TOO_LARGE),
    "large.ppm": (lambda _: b"P6 99999 99999 255\n", TOO_LARGE),
    "count.ppm": (lambda _: b"P6 " + b"9" * 5000 + b" 1 255\n", NO_IMAGE),
    "evil.svg": (lambda t: SVG.format(t.video).encode(), NO_IMAGE),
    "net.svg.png": (lambda t: SVG.format(t.url).encode(), NO_IMAGE),
    "evil.eps": (lambda t: EPS.format(t.canary).encode(), NO_IMAGE),
    "evil.pdf": (lambda t: f"%PDF-1.4\n/F ({t.text})\n".encode(), NO_IMAGE),
    "list.mp4": (lambda t: files.concat_script(t.video).encode(), NO_IMAGE),
    "pipe:mkdir canary": (lambda t: f"mkdir {t.canary}".encode(), NO_IMAGE),
    "text.jpg": (lambda t: b"%s" % bytes(t.canary), NO_IMAGE),
    "\x1b[31mred\x1b]0;own\x07.png": (lambda _: b"", "is empty"),
    "two\nlines\r.png": (lambda _: b"", "is empty"),
    "\u202egnp.png": (lambda _: b"", "is empty"),
}
SOUND = ("-rf.png", "%03d.png", "a[1]{b}.png", "a:b.png", "$(id).png", "'; rm\\.png", "\x1b[2J.png")


def build(root: Path, trap: Traps) -> None:
    """Make the folder: the table, sound pictures of odd names, and what is no plain file."""
    folder = root / "train/class \x1b[31m\n"
    folder.mkdir(parents=True)
    for name, (content, _) in CASES.items():
        (folder / name).write_bytes(content(trap))
    sound = write_image(root.parent / "sound.png", make_frames(1)[0])
    for name in (*map(os.fsencode, SOUND), b"\xff\xfe.png"):
        Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_bytes(sound.read_bytes())
    os.mkfifo(folder / "pipe.png")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "s"))
    for name, target in {"zero": "/dev/zero", "tty": "/dev/tty", "mem": "/proc/self/mem"}.items():
        (folder / f"{name}.jpg").symlink_to(target)
    (folder / "loop.png").symlink_to("loop.png")
    (folder / "gone.png").symlink_to("nowhere.png")
    (folder / "up").symlink_to("..")
    (folder / "out.png").symlink_to(trap.folder / "outside.txt")
    trap.folder.joinpath("outside.txt").write_bytes(trap_text(trap))


def trap_text(trap: Traps) -> bytes:
    """Return what a link leads to: text, of which nothing may be repeated."""
    return b"another TOP-SECRET-5f0a1b of " + bytes(trap.folder)


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """Return the outcome, the reasons by source, and the traps that went off."""
    root = tmp_path_factory.mktemp("images")
    with traps(root) as trap:
        build(root / "src", trap)
        outcome = run_ivvit("shard", "imagefolder", "src", "-o", "out", "--workers", "1", cwd=root)
        lines = (root / "out/skipped.jsonl").read_text().splitlines()
        reasons = {
            row["source"].rpartition("/")[2]: row["reason"] for row in map(json.loads, lines)
        }
        shown = run_ivvit("data", "show", "out", cwd=root)
        listed = run_ivvit("data", "ls", ".", cwd=root)
        yield root, (outcome, shown, listed), reasons, trap.sprung(root / "out")


def test_no_trap_goes_off(converted) -> None:
    _, outcomes, _, sprung = converted
    assert [faults(outcome, codes=(0,)) for outcome in outcomes] == [[], [], []]
    assert sprung == set()


@pytest.mark.parametrize("name", CASES)
def test_each_is_left_out_with_its_reason(converted, name: str) -> None:
    reasons = converted[2]
    expected = CASES[name][1]
    assert (name in reasons) == bool(expected)
    assert expected in reasons.get(name, "")


def test_what_is_no_plain_file_is_left_out(converted) -> None:
    reasons = converted[2]
    names = {"pipe.png", "s", "zero.jpg", "tty.jpg", "mem.jpg", "loop.png", "gone.png", "out.png"}
    assert reasons.keys() - CASES.keys() == names
    assert all("\n" not in reason and len(reason) < 200 for reason in reasons.values())


def test_a_name_is_only_a_name(converted) -> None:
    root = converted[0]
    document = json.loads((root / "out/dataset.json").read_text())
    sound = sum(not expected for _, expected in CASES.values()) + len(SOUND) + 1
    assert document["splits"]["train"]["samples"] == sound
    assert {path.name for path in root.iterdir()} == {
        *("outside", "src", "out", "sound.png", ".usage")
    }
