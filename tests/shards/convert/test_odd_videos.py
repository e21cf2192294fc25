"""Odd videos give frames that look right: colours, HDR, lines, pixels that are not square."""

import io
import json
import os
import stat
import struct
import tarfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from media import make_frames, run_ffmpeg, write_video
from odd_colours import light_of, rgb_of, write_hdr
from PIL import Image

from shards.convert.command import ffmpeg_command
from shards.convert.dataset import convert
from shards.convert.ffmpeg import find_ffmpeg
from shards.convert.process import Limits, run_bounded
from shards.convert.video import read_video
from shards.errors import InputError

TILE, ACROSS, DOWN = 32, 20, 10
COLOURS = np.array(
    [[200, 40, 40], [40, 200, 40], [40, 40, 200], [230, 220, 60], [200, 150, 120]]
    + [[grey] * 3 for grey in (0, 32, 64, 128, 192, 255)],
    float,
)


def decoded(path: Path, **options: object) -> np.ndarray:
    video = read_video(path, **options)
    return np.stack([simplejpeg.decode_jpeg(frame, "RGB") for frame in video.frames]).astype(int)


def raw_frames(path: Path, pixel_format: str) -> np.ndarray:
    args = ("-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", pixel_format, "pipe:1")
    return np.frombuffer(run_ffmpeg("-i", str(path), *args), np.uint8)


def planes(raw: np.ndarray) -> list[np.ndarray]:
    """Return the middle of each tile of one yuv420p frame: Y, U, V of shape (DOWN, ACROSS)."""
    half, edge = TILE // 2, DOWN * ACROSS * TILE * TILE
    y, u, v = np.split(raw, [edge, edge + edge // 4])
    return [
        y.reshape(DOWN * TILE, -1)[half::TILE, half::TILE],
        *(part.reshape(DOWN * half, -1)[half // 2 :: half, half // 2 :: half] for part in (u, v)),
    ]


def converted_without_jpeg(path: Path) -> np.ndarray:
    """Return the Y'CbCr that our command hands to the JPEG encoder."""

    def command(times: int) -> list[str]:
        swap = {"mjpeg": "rawvideo", "image2pipe": "rawvideo"}
        words = ffmpeg_command(path, times, short_side=None, fps=None, quality=2)
        return [swap.get(word, word) for word in words]

    return np.frombuffer(run_bounded(command, Limits()).output, np.uint8)


@pytest.mark.parametrize(
    ("matrix", "levels", "own_error"),
    [("bt709", "tv", 5), ("bt709", "pc", 4), ("smpte170m", "tv", 2.5), ("smpte170m", "pc", 0.6)],
)
def test_the_change_of_matrix_is_within_3_levels_of_ffmpeg_s_rgb(
    tmp_path, matrix: str, levels: str, own_error: float
) -> None:
    """200 colours, before JPEG. From limited BT.601, ffmpeg's own RGB is off by up to 2.8."""
    colours = np.random.default_rng(1).integers(0, 256, (DOWN, ACROSS, 3), np.uint8)
    picture = colours.repeat(TILE, 0).repeat(TILE, 1)[None]
    path = tmp_path / "tiles.mp4"
    scale = f"scale=out_color_matrix={matrix}:out_range={levels}"
    lossless = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-qp", "0")
    tags = ("-colorspace", matrix, "-color_range", levels)
    write_video(path, picture, 25, ("-vf", scale, *lossless, *tags))
    stored = planes(raw_frames(path, "yuvj420p" if levels == "pc" else "yuv420p"))
    exact = rgb_of(*(plane.astype(float) for plane in stored), matrix, full=levels == "pc")
    ffmpeg = raw_frames(path, "rgb24").reshape(DOWN * TILE, -1, 3)[TILE // 2 :: TILE, 16::TILE]
    ours = planes(converted_without_jpeg(path))
    ours = rgb_of(*(plane.astype(float) for plane in ours), "smpte170m", full=True)
    share = (np.abs(ours - ffmpeg).max(-1) > 3).mean()
    assert share <= (0.15 if (matrix, levels) == ("smpte170m", "tv") else 0)
    assert np.abs(ours - ffmpeg).max() < 4
    assert np.abs(ours - exact).max() < own_error


@pytest.mark.parametrize(
    ("codec", "form", "near"),
    [
        ("ffv1", "yuv444p", 2), ("ffv1", "yuv422p", 2), ("ffv1", "yuv420p10le", 2),
        ("ffv1", "yuv422p10le", 2), ("ffv1", "yuv444p12le", 2), ("ffv1", "gbrp", 2),
        ("ffv1", "rgb48le", 2), ("ffv1", "yuva444p", 2), ("libvpx-vp9", "yuva420p", 4),
        ("huffyuv", "rgb24", 2), ("qtrle", "argb", 2), ("mjpeg", "yuvj422p", 3),
    ],
)  # fmt: skip
def test_every_kind_of_pixels_gives_the_same_pictures(tmp_path, codec, form, near) -> None:
    frames = make_frames(4)
    path = tmp_path / ("a.mov" if codec == "qtrle" else "a.mkv" if "v" in codec else "a.avi")
    video = write_video(path, frames, 25, ("-c:v", codec, "-pix_fmt", form, "-b:v", "4M"))
    assert np.abs(decoded(video, quality=2) - frames).mean() < near


def test_grey_stays_grey(tmp_path) -> None:
    frames = make_frames(3)
    path = write_video(tmp_path / "a.mkv", frames, 25, ("-c:v", "ffv1", "-pix_fmt", "gray"))
    found = decoded(path)
    assert np.abs(found - frames.mean(-1, keepdims=True)).mean() < 30
    assert np.ptp(found, axis=-1).max() <= 2


@pytest.mark.parametrize(("transfer", "curve"), [("smpte2084", "PQ"), ("arib-std-b67", "HLG")])
@pytest.mark.parametrize("matrix", ["bt2020nc", "unknown"])
def test_hdr_looks_like_the_sdr_that_it_was_made_from(tmp_path, transfer, curve, matrix) -> None:
    path = tmp_path / "hdr.mkv"
    known = f"colorspace={matrix}:color_primaries=bt2020:" if matrix != "unknown" else ""
    brighter = np.array([300.0, 400, 600, 1000])[:, None] * np.ones(3)
    light = np.concatenate([light_of(COLOURS), brighter])
    write_hdr(path, light, transfer, f"{known}color_trc={transfer}:range=tv")
    assert read_video(path).notes == (f"{curve}: tone-mapped",)
    found = decoded(path)[:, 24, 32]
    colours, greys, highlights = found[:5], found[5:11], found[11:]
    assert np.abs(greys[:5] - COLOURS[5:10]).max() <= 4
    assert 225 <= greys[5].min() < highlights[0].min()  # room for what is brighter than white
    assert (np.diff(highlights[:, 1]) >= 2).all()
    assert (colours.argmax(-1)[[0, 1, 2, 4]] == [0, 1, 2, 0]).all()
    assert np.abs(colours - COLOURS[:5]).max() <= (12 if curve == "PQ" else 32)


def test_without_the_filter_hdr_stays_as_it_is_and_says_so(tmp_path, monkeypatch) -> None:
    """A build without zscale: the real ffmpeg, asked for a filter that it does not have."""
    script = tmp_path / "ffmpeg"
    swap = 'for word do shift; set -- "$@" "$(printf %s "$word" | sed s/zscale/noscale/g)"; done'
    script.write_text(f'#!/bin/sh\n{swap}\nexec "{find_ffmpeg().path}" "$@"\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    path = tmp_path / "hdr.mkv"
    write_hdr(path, light_of(COLOURS), "smpte2084", "color_trc=smpte2084:range=tv")
    monkeypatch.setenv("IVVIT_FFMPEG", str(script))
    find_ffmpeg.cache_clear()
    try:
        video = read_video(path)
        version = find_ffmpeg().version
    finally:
        find_ffmpeg.cache_clear()
    assert video.notes == (f"PQ: not tone-mapped: {version} lacks the filter",)
    assert len(video.frames) == len(COLOURS)


def test_what_was_done_is_in_the_sample_s_json(tmp_path) -> None:
    folder = tmp_path / "src/train/a"
    folder.mkdir(parents=True)
    tags = "colorspace=bt2020nc:color_trc=smpte2084:range=tv"
    write_hdr(folder / "hdr.mkv", light_of(COLOURS), "smpte2084", tags)
    write_video(folder / "plain.mkv", make_frames(2), 25, ("-c:v", "ffv1"))
    convert("videofolder", tmp_path / "src", tmp_path / "out")
    with tarfile.open(tmp_path / "out/src-train-000000.tar") as tar:
        documents = [json.load(tar.extractfile(name)) for name in tar.getnames() if "json" in name]
    assert [document.get("notes") for document in documents] == [["PQ: tone-mapped"], None]


def combing(frames: np.ndarray) -> float:
    """Return how much a line differs from the mean of its neighbours, in levels."""
    grey = frames.mean(-1)
    return float(np.abs(grey[:, 1:-1] * 2 - grey[:, :-2] - grey[:, 2:]).mean())


@pytest.mark.parametrize("name", ["a.mp4", "a.mpg", "a.ts"])
def test_interlaced_lines_are_woven_into_whole_frames(tmp_path, name: str) -> None:
    steady = write_video(tmp_path / "steady.mkv", make_frames(24, 96, 128), 50, ("-c:v", "ffv1"))
    path = tmp_path / name
    h264 = ("-c:v", "libx264", "-preset", "ultrafast", "-x264opts", "tff=1")
    codec = h264 if name == "a.mp4" else ("-c:v", "mpeg2video", "-q:v", "2")
    flags = ("-flags", "+ilme+ildct", "-pix_fmt", "yuv420p")
    weave = "tinterlace=interleave_top,setfield=tff"
    run_ffmpeg("-i", str(steady), "-vf", weave, *codec, *flags, str(path))
    video = read_video(path)
    plain = raw_frames(path, "rgb24").reshape(-1, 96, 128, 3)
    assert (len(video.frames), video.fps) == (len(plain), pytest.approx(25, rel=1e-3))
    assert video.notes == ("deinterlaced",)
    assert combing(plain) > 10
    assert combing(decoded(path)) < 3


@pytest.mark.parametrize(
    ("sar", "size"),
    [
        ("2/1", (64, 24)), ("1/2", (32, 48)), ("64/45", (64, 34)), ("640/639", (64, 48)),
        ("1/1", (64, 48)), ("1000/1", (64, 48)), ("1/1000", (64, 48)),
    ],
)  # fmt: skip
def test_pixels_are_made_square_by_shrinking(tmp_path, sar: str, size: tuple[int, int]) -> None:
    args = ("-vf", f"setsar={sar}", "-c:v", "ffv1", "-pix_fmt", "yuv444p")
    path = write_video(tmp_path / "a.mkv", make_frames(2), 25, args)
    video = read_video(path)
    assert (video.width, video.height) == size
    with Image.open(io.BytesIO(video.frames[0])) as picture:
        assert len(set(picture.info["jfif_density"])) == 1
    small = read_video(path, short_side=20)
    assert min(small.width, small.height) == 20
    assert small.width / small.height == pytest.approx(size[0] / size[1], rel=0.06)


ONE = 1 << 16
TURNS = {
    "90": ((0, ONE, 0, -ONE, 0, 0), partial(np.rot90, k=-1, axes=(1, 2))),
    "180": ((-ONE, 0, 0, 0, -ONE, 0), partial(np.rot90, k=2, axes=(1, 2))),
    "270": ((0, -ONE, 0, ONE, 0, 0), partial(np.rot90, k=1, axes=(1, 2))),
    "mirrored": ((-ONE, 0, 0, 0, ONE, 0), lambda frames: frames[:, :, ::-1]),
    "upside down": ((ONE, 0, 0, 0, -ONE, 0), lambda frames: frames[:, ::-1]),
}


@pytest.mark.parametrize("turn", TURNS)
def test_every_turn_of_a_phone_is_undone(tmp_path, turn: str) -> None:
    matrix, turned = TURNS[turn]
    flat = write_video(tmp_path / "flat.mp4", make_frames(3, 64, 96))
    content = flat.read_bytes()
    track = content.index(b"tkhd")
    before, after = (struct.pack(">6i", *m) for m in ((ONE, 0, 0, 0, ONE, 0), matrix))
    path = tmp_path / "turned.mp4"
    path.write_bytes(content[:track] + content[track:].replace(before, after, 1))
    assert np.abs(decoded(path) - turned(decoded(flat))).mean() < 2


@pytest.mark.parametrize("cut", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("name", ["a.gif", "a.mkv", "a.webm", "a.flv"])
def test_a_file_that_is_cut_short_is_refused_whole(tmp_path, name: str, cut: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (8, 48, 64, 3), np.uint8)
    codec = {"a.gif": (), "a.webm": ("-c:v", "libvpx-vp9", "-b:v", "4M"), "a.flv": ("-c:v", "flv1")}
    path = write_video(tmp_path / name, noise, 10, codec.get(name, ("-c:v", "mpeg4")))
    whole = path.read_bytes()
    assert len(read_video(path).frames) == 8
    path.write_bytes(whole[: int(len(whole) * cut)])
    with pytest.raises(InputError, match="is cut short or damaged"):
        read_video(path)


def test_a_gif_without_its_last_byte_or_with_more_behind_it(tmp_path) -> None:
    path = write_video(tmp_path / "a.gif", make_frames(4), 10, ())
    whole = path.read_bytes()
    path.write_bytes(whole + b"\0" * 9 + os.urandom(99))
    assert len(read_video(path).frames) == 4
    path.write_bytes(whole[:-1])
    with pytest.raises(InputError, match="is cut short or damaged"):
        read_video(path)
