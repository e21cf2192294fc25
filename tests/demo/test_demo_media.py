"""The demo's videos: every frame stands alone, and a clip played backwards stays its twin."""

from pathlib import Path

import numpy as np
import pytest
from media import run_ffmpeg

from ivvit_cli.demo import media
from ivvit_cli.demo.datasets import ORDER, Pixels
from shards.convert.image import read_image
from shards.convert.video import read_video
from shards.stream.decode import decode_frame

CODECS = {"H.264": media.H264, "MPEG-4": media.MPEG4}


@pytest.fixture(params=CODECS)
def codec(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    options = CODECS[request.param]
    if f" {options['vcodec']} " not in run_ffmpeg("-encoders").decode():
        pytest.skip(f"this ffmpeg has no {options['vcodec']}")
    monkeypatch.setattr(media, "_codec", lambda: options)


def clip(label: int = 0) -> Pixels:
    return ORDER.sample("train", label, 0, seed=0)


@pytest.mark.usefixtures("codec")
def test_every_frame_of_a_video_is_a_key_frame(tmp_path: Path) -> None:
    media.write_video(tmp_path / "a.mp4", clip(), fps=12)
    keys = run_ffmpeg(
        *("-skip_frame", "nokey", "-i", str(tmp_path / "a.mp4"), "-fps_mode", "passthrough"),
        *("-f", "rawvideo", "-pix_fmt", "rgb24", "pipe:1"),
    )
    assert len(keys) == clip().size


@pytest.mark.usefixtures("codec")
def test_a_video_played_backwards_converts_to_the_same_frames_in_reverse(tmp_path: Path) -> None:
    media.write_video(tmp_path / "a.mp4", clip(), fps=12)
    media.write_video(tmp_path / "b.mp4", clip()[::-1], fps=12)
    forwards, backwards = (read_video(tmp_path / name).frames for name in ("a.mp4", "b.mp4"))
    assert len(forwards) == len(clip())
    assert forwards == backwards[::-1]
    assert len(set(forwards)) == len(forwards)


@pytest.mark.usefixtures("codec")
def test_a_video_keeps_its_colours_until_it_is_read(tmp_path: Path) -> None:
    media.write_video(tmp_path / "a.mp4", clip(), fps=12)
    read = np.stack([decode_frame(data, "jpg") for data in read_video(tmp_path / "a.mp4").frames])
    error = np.abs(read.astype(int) - clip()).mean(axis=(1, 2))  # (T, 3)
    assert error.max() < 8


@pytest.mark.usefixtures("codec")
def test_a_video_is_written_alike_every_time(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        media.write_video(tmp_path / name, clip(), fps=12)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_a_png_is_exact_and_a_jpeg_close(tmp_path: Path) -> None:
    pixels = clip()[0]
    for name, margin in (("a.png", 0), ("a.jpg", 24)):
        media.write_image(tmp_path / name, pixels)
        encoded = read_image(tmp_path / name)
        assert encoded.codec == name[-3:]
        read = decode_frame(encoded.data, encoded.codec)
        assert np.abs(read.astype(int) - pixels).mean() <= margin / 4
