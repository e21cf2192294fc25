"""`ivvit shard videofolder` on hostile videos: no other file, no socket, in bounds."""

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path

import hostile_files as files
import pytest
from hostile import Traps, faults, left_out, run_ivvit, traps
from media import make_frames, run_ffmpeg, write_video

NEITHER = "is neither an image nor a video"
CONVERTED = ""
PLAYLISTS = {
    "concat": files.concat_script,
    "hls": files.hls_playlist,
    "dash": files.dash_manifest,
}
Maker = Callable[[Path, Traps], object]


def playlists() -> dict[str, tuple[Maker, str]]:
    """Return a script of each kind for each secret: a file, the server, a command."""
    found: dict[str, tuple[Maker, str]] = {}
    for kind, script in PLAYLISTS.items():
        for target in ("video", "text", "url"):
            name = f"{kind}-{target}.mp4"
            found[name] = (text(lambda t, s=script, g=target: s(getattr(t, g))), "allowed format")
    return found


def text(content: Callable[[Traps], str]) -> Maker:
    """Return what writes a text of the traps."""
    return lambda path, trap: path.write_text(content(trap))


def data(content: bytes) -> Maker:
    """Return what writes some bytes."""
    return lambda path, _: path.write_bytes(content)


def film(*args: str, source: str = "testsrc=size=64x48:rate=10:duration=1") -> Maker:
    """Return what has ffmpeg encode a pattern."""
    encode = args or ("-c:v", "mpeg4")
    return lambda path, _: run_ffmpeg("-f", "lavfi", "-i", source, *encode, str(path))


def patched(name: str, place: bytes, skip: int, number: int) -> Maker:
    """Return what writes a video whose number (32 bits), `skip` bytes after a mark, is another."""

    def write(path: Path, _: Traps) -> None:
        content = bytearray(write_video(path.with_name(name), make_frames(3)).read_bytes())
        path.with_name(name).unlink()
        struct.pack_into(">I", content, content.index(place) + skip, number)
        path.write_bytes(content)

    return write


CUT = "is cut short or damaged"
START = "is not a video, or its start is damaged"
# name -> (what writes it, a part of the reason or CONVERTED)
CASES: dict[str, tuple[Maker, str]] = playlists() | {
    "track.mov": (lambda p, t: files.external_track(p, t.video), CUT),
    "session.mp4": (text(lambda t: files.session_description(t.url.split(":")[2][:5])), NEITHER),
    "list.m3u8": (text(lambda t: files.hls_playlist(t.video)), "allowed format"),
    "evil.avi": (text(lambda t: f"#EXTM3U\n#EXTINF:1\nconcat:{t.text}|{t.video}\n"), NEITHER),
    "large.mkv": (film("-c:v", "mpeg4", source="color=size=8000x5008:duration=0.04"), "pixels a"),
    "claim.avi": (patched("a.avi", b"strf", 12, 0xFFFF0000), CONVERTED),
    "frames.gif": (data(files.gif((1, 1), (1, 1), 40_000)), "more than 36000 frames"),
    "screen.gif": (data(files.gif((65535, 65535), (1, 1), 3)), "holds no frame"),
    "times.mp4": (patched("a.mp4", b"stts", 8, 0x7FFFFFFF), "more memory"),
    "samples.mp4": (patched("a.mp4", b"stsz", 12, 0x7FFFFFFF), START),
    "size.mp4": (patched("a.mp4", b"moov", -4, 0xFFFFFFF0), CONVERTED),
    "deep.mp4": (data(b"\0\0\0\x10ftypisom\0\0\0\0" + b"\0\1\0\0moov" * 20_000), START),
    "deep.mkv": (data(b"\x1a\x45\xdf\xa3\x80\x18\x53\x80\x67" + b"\x01\xff\xff" * 9), START),
    "cut.webm": (data(b"\x1a\x45\xdf\xa3"), START),
    "zeros.ts": (data(b"\x47" + bytes(187)) , NEITHER),
    "empty.mp4": (data(b""), "is empty"),
}  # fmt: skip
ODD_NAMES = (
    *("-i.mp4", "%03d.mp4", "concat:a.mp4", "data:,x.mp4", "pipe:0.mp4", "http:x.mp4"),
    *("subfile,,start,0,end,9,,:a.mp4", "a[0]'x,y;z=1\\:.mp4", "\x1b]0;t\x07.mp4", "a\nb.mp4"),
)


def build(root: Path, trap: Traps) -> None:
    """Make the folder: the table's files, sound videos of odd names, and what is no plain file."""
    folder = root / "train/a class"
    folder.mkdir(parents=True)
    for name, (write, _) in CASES.items():
        write(folder / name, trap)
    sound = write_video(root.parent / "sound.mp4", make_frames(3)).read_bytes()
    for name in ODD_NAMES:
        (folder / name).write_bytes(sound)
    os.mkfifo(folder / "pipe.mp4")
    for name, target in {
        "zero": "/dev/zero",
        "loop": "loop.avi",
        "text": trap.folder / "x",
    }.items():
        (folder / f"{name}.avi").symlink_to(target)
    (trap.folder / "x").write_bytes(b"TOP-SECRET-5f0a1b\n" * 100)


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """Return the folder, the outcome, the reasons by name, and the traps that went off."""
    root = tmp_path_factory.mktemp("videos")
    with traps(root) as trap:
        build(root / "src", trap)
        outcome = run_ivvit("shard", "videofolder", "src", "-o", "out", cwd=root)
        reasons = left_out(root / "out")
        yield root, outcome, reasons, trap.sprung(root / "out")


def test_no_trap_goes_off(converted) -> None:
    _, outcome, _, sprung = converted
    assert faults(outcome, codes=(0,)) == []
    assert sprung == set()


@pytest.mark.parametrize("name", CASES)
def test_each_is_left_out_with_its_reason(converted, name: str) -> None:
    expected = CASES[name][1]
    assert expected in converted[2].get(name, "")
    assert (name in converted[2]) == bool(expected)


def test_a_name_is_only_a_name(converted) -> None:
    root, _, reasons, _ = converted
    document = json.loads((root / "out/dataset.json").read_text())
    sound = sum(not expected for _, expected in CASES.values()) + len(ODD_NAMES)
    assert document["splits"]["train"]["samples"] == sound
    names = {"pipe.mp4", "zero.avi", "loop.avi", "text.avi"}
    assert reasons.keys() - CASES.keys() == names
    assert {path.name for path in root.iterdir()} == {
        *("outside", "src", "out", "sound.mp4", ".usage")
    }
