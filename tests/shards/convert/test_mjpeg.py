"""Cutting a stream of JPEG files, against a parser that reads the segments."""

import io

import numpy as np
import pytest
from media import make_frames, run_ffmpeg, write_video
from PIL import Image

from shards.convert.mjpeg import split_jpegs


def naive_length(stream: bytes) -> int:
    """Return the length of the first JPEG, by walking its segments and its entropy-coded data."""
    at = 2
    while stream[at + 1] != 0xDA:
        at += 2 + int.from_bytes(stream[at + 2 : at + 4], "big")
    at += 2 + int.from_bytes(stream[at + 2 : at + 4], "big")
    while not (stream[at] == 0xFF and stream[at + 1] == 0xD9):
        at += 1
    return at + 2


def test_frames_of_ffmpeg_are_cut_where_a_parser_ends_them(tmp_path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (8, 64, 64, 3), dtype=np.uint8)
    path = write_video(tmp_path / "noise.avi", noise)
    args = ("-c:v", "mjpeg", "-q:v", "31", "-pix_fmt", "yuvj420p", "-f", "image2pipe")
    stream = run_ffmpeg("-i", str(path), *args, "pipe:1")
    frames = split_jpegs(stream)
    assert len(frames) == 8
    assert b"".join(frames) == stream
    rest = stream
    for frame in frames:
        assert len(frame) == naive_length(rest)
        rest = rest[len(frame) :]


def test_any_encoder_s_files_are_cut_apart() -> None:
    files = []
    for picture in make_frames(5):
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "JPEG", quality=95)
        files.append(file.getvalue())
    assert split_jpegs(b"".join(files)) == files


def test_nothing_is_no_frame_and_a_cut_stream_is_an_error() -> None:
    assert split_jpegs(b"") == []
    with pytest.raises(ValueError, match="cut off"):
        split_jpegs(b"\xff\xd8abc\xff\xd9\xff\xd8ab")
