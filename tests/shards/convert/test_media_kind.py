"""Image or video, by content alone."""

from pathlib import Path

import pytest
from media import make_frames, write_image, write_video
from PIL import Image

from shards.convert.media import sniff_kind
from shards.errors import InputError

FRAMES = make_frames(4)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "bmp", "tif", "gif", "ppm"])
def test_images_are_images_whatever_their_name(tmp_path: Path, suffix: str) -> None:
    path = write_image(tmp_path / f"a.{suffix}", FRAMES[0])
    assert sniff_kind(path.rename(tmp_path / "b.mp4")) == "image"


@pytest.mark.parametrize("suffix", ["mp4", "mov", "avi", "mkv", "webm", "flv", "ts", "mpg", "wmv"])
def test_videos_are_videos_whatever_their_name(tmp_path: Path, suffix: str) -> None:
    args = {
        "webm": ("-c:v", "libvpx"),
        "flv": ("-c:v", "flv"),
        "mpg": ("-c:v", "mpeg1video"),
        "wmv": ("-c:v", "wmv2"),
    }
    path = tmp_path / f"a.{suffix}"
    write_video(path, FRAMES, 25, args.get(suffix, ("-c:v", "mpeg4")))
    assert sniff_kind(path.rename(tmp_path / "b.jpg")) == "video"


def test_a_moving_gif_is_a_video(tmp_path: Path) -> None:
    path = tmp_path / "a.gif"
    pictures = [Image.fromarray(frame) for frame in FRAMES]
    pictures[0].save(path, save_all=True, append_images=pictures[1:])
    assert sniff_kind(path) == "video"


@pytest.mark.parametrize("content", [b"", b"hello", b"ID3\x04" + b"\0" * 600, b"\0" * 600])
def test_other_files_are_neither(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    with pytest.raises(InputError, match="neither an image nor a video"):
        sniff_kind(path)


def test_what_is_no_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        sniff_kind(tmp_path / "none")
    with pytest.raises(InputError, match="no such file"):
        sniff_kind(tmp_path)
