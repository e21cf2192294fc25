"""Videos to JPEG frames: count, size, colour, rate, rotation, faults and hostile files."""

import io
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from media import make_frames, run_ffmpeg, write_video
from PIL import Image

from shards.convert.command import MAX_FRAMES
from shards.convert.media import sniff_kind
from shards.convert.process import Limits
from shards.convert.video import read_video
from shards.errors import InputError

H264 = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p")
LOSSLESS = ("-c:v", "ffv1", "-pix_fmt", "yuv444p")


def decoded(frames: list[bytes]) -> np.ndarray:
    return np.stack([simplejpeg.decode_jpeg(frame, "RGB") for frame in frames])


def passthrough(path: Path, pixel_format: str = "rgb24", *filters: str) -> bytes:
    """Return the raw frames that a plain ffmpeg call decodes."""
    chain = ("-vf", ",".join(filters)) if filters else ()
    raw = ("-f", "rawvideo", "-pix_fmt", pixel_format)
    return run_ffmpeg("-i", f"file:{path}", *chain, "-fps_mode", "passthrough", *raw, "pipe:1")


def test_every_frame_comes_once_at_its_size_and_rate(tmp_path) -> None:
    frames = make_frames(20)
    video = read_video(write_video(tmp_path / "a.mkv", frames, 12.5, LOSSLESS))
    assert (len(video.frames), video.width, video.height) == (20, 64, 48)
    assert (video.fps, video.resampled) == (pytest.approx(12.5, rel=1e-3), False)
    assert np.abs(decoded(video.frames).astype(int) - frames).mean() < 2


def test_a_short_side_is_reduced_and_never_enlarged(tmp_path) -> None:
    wide = write_video(tmp_path / "wide.mp4", make_frames(3, 120, 200))
    tall = write_video(tmp_path / "tall.mp4", make_frames(3, 200, 120))
    sizes = {
        (path.stem, side): (video.width, video.height)
        for path in (wide, tall)
        for side in (60, 320, None)
        for video in [read_video(path, short_side=side)]
    }
    assert sizes["wide", 60] == (100, 60)
    assert sizes["tall", 60] == (60, 100)
    assert sizes["wide", 320] == sizes["wide", None] == (200, 120)
    assert sizes["tall", 320] == sizes["tall", None] == (120, 200)


def test_odd_sizes_stay(tmp_path) -> None:
    video = read_video(write_video(tmp_path / "odd.mkv", make_frames(2, 33, 45), 25, LOSSLESS))
    assert (video.width, video.height) == (45, 33)


def turn_left(mp4: bytes) -> bytes:
    """Change the track's matrix as a phone that was held upright would write it."""
    one = 1 << 16
    flat, left = (one, 0, 0, 0, one, 0), (0, -one, 0, one, 0, 0)
    track = mp4.index(b"tkhd")
    before, after = (struct.pack(">6i", *matrix) for matrix in (flat, left))
    return mp4[:track] + mp4[track:].replace(before, after, 1)


def test_rotation_is_honoured_before_the_size_is_computed(tmp_path) -> None:
    flat = write_video(tmp_path / "flat.mp4", make_frames(3, 100, 160))
    turned = tmp_path / "turned.mp4"
    turned.write_bytes(turn_left(flat.read_bytes()))
    upright, sideways = read_video(flat, short_side=50), read_video(turned, short_side=50)
    assert (upright.width, upright.height) == (80, 50)
    assert (sideways.width, sideways.height) == (50, 80)
    expected = np.rot90(decoded(upright.frames), axes=(1, 2))
    assert np.abs(decoded(sideways.frames).astype(int) - expected).mean() < 4


@pytest.mark.parametrize(
    ("matrix", "levels", "near"),
    [("bt709", "tv", 3), ("bt709", "pc", 4), ("smpte170m", "tv", 3), ("smpte170m", "pc", 3)],
)
def test_colours_are_those_of_ffmpeg_s_own_rgb(tmp_path, matrix, levels, near) -> None:
    """Without the change of matrix, BT.709 colours would be off by up to 15 levels.

    Within 3 before JPEG (test_odd_videos.py), whose quantisation of a flat picture adds one.
    """
    colours = np.array([[200, 40, 40], [40, 200, 40], [40, 40, 200], [230, 220, 60]], np.uint8)
    flat = np.broadcast_to(colours[:, None, None], (4, 64, 64, 3))
    path = tmp_path / "colours.mp4"
    tag = ("-colorspace", matrix, "-color_range", levels)
    scale = ("-vf", f"scale=out_color_matrix={matrix}:out_range={levels}")
    write_video(path, flat, 25, (*scale, *H264, "-qp", "0", *tag))
    expected = np.frombuffer(passthrough(path), np.uint8).reshape(4, 64, 64, 3)
    found = decoded(read_video(path, quality=2).frames)
    assert np.abs(found.astype(int) - expected).max() <= near
    assert np.abs(found.astype(int) - flat).max() <= 6


def test_uneven_times_are_resampled_at_the_average_rate(tmp_path) -> None:
    frames = make_frames(30)
    steady = write_video(tmp_path / "steady.mkv", frames, 10, LOSSLESS)
    uneven = tmp_path / "uneven.mkv"
    run_ffmpeg(
        *("-i", str(steady), "-vf", "setpts='if(lt(N,10),N,N+20)*0.1/TB'", "-fps_mode", "vfr"),
        *("-c:v", "ffv1", str(uneven)),
    )
    video = read_video(uneven)
    assert (video.resampled, len(video.frames)) == (True, 30)
    assert video.fps == pytest.approx(29 / 4.9, rel=1e-3)
    moments = np.arange(30) / video.fps
    stamps = np.array([n if n < 10 else n + 20 for n in range(30)]) * 0.1
    nearest = np.abs(moments[:, None] - stamps).argmin(axis=1)
    original = decoded(read_video(steady).frames)
    assert np.array_equal(decoded(video.frames), original[nearest])


def test_frames_closer_than_the_nominal_rate_are_all_kept(tmp_path) -> None:
    """ffmpeg's encoder would fail where two times round to one tick of the stream's rate."""
    path = tmp_path / "close.mkv"
    steady = write_video(tmp_path / "steady.mkv", make_frames(12), 10, LOSSLESS)
    times = "setpts='(N*0.1-if(eq(N,6),0.096,0))/TB'"
    run_ffmpeg("-i", str(steady), "-vf", times, "-fps_mode", "vfr", "-c:v", "ffv1", str(path))
    assert len(read_video(path).frames) == len(passthrough(path)) // (64 * 48 * 3)


def test_another_rate_can_be_asked_for(tmp_path) -> None:
    path = write_video(tmp_path / "a.mp4", make_frames(50), 25)
    video = read_video(path, fps=5)
    assert (len(video.frames), video.fps, video.resampled) == (10, 5, True)


def test_quality_decides_the_bytes(tmp_path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    path = write_video(tmp_path / "a.mkv", noise, 25, LOSSLESS)
    best, worst = (sum(map(len, read_video(path, quality=q).frames)) for q in (2, 20))
    assert best > 1.5 * worst


def test_one_frame_is_a_video_and_a_moving_gif_is_one(tmp_path) -> None:
    assert len(read_video(write_video(tmp_path / "one.mp4", make_frames(1))).frames) == 1
    pictures = [Image.fromarray(frame) for frame in make_frames(5)]
    gif = tmp_path / "a.gif"
    pictures[0].save(gif, save_all=True, append_images=pictures[1:], duration=100)
    video = read_video(gif)
    assert (len(video.frames), video.fps) == (5, pytest.approx(10))


def test_the_name_of_a_file_is_never_an_option_or_a_protocol(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    original = write_video(tmp_path / "a.mp4", make_frames(3))
    for name in ("-i.mp4", "concat:a.mp4", "pipe:0", "%03d.mp4", "a'b\n,[x];.mp4"):
        path = Path(name)
        shutil.copy(original, tmp_path / name)
        assert len(read_video(path).frames) == 3


@pytest.mark.parametrize("cut", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("name", ["a.avi", "a.mp4", "fast.mp4"])
def test_a_video_that_is_cut_short_is_refused(tmp_path, name: str, cut: float) -> None:
    start = ("-movflags", "+faststart") if name.startswith("fast") else ()
    frames = make_frames(40, 96, 128)
    path = write_video(tmp_path / name, frames, 25, ("-c:v", "mpeg4", "-q:v", "1", *start))
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * cut)])
    with pytest.raises(InputError, match="is cut short or damaged") as caught:
        read_video(path)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("empty.mp4", b"", "is empty"),
        ("text.avi", b"hello " * 100, "is neither an image nor a video"),
        ("cut.webm", b"\x1a\x45\xdf\xa3" + b"hello " * 100, "is not a video, or its start"),
        ("none.mp4", None, "no such file"),
    ],
)
def test_what_is_no_video_is_refused_with_its_reason(tmp_path, name, content, reason) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=reason):
        read_video(path)


def test_sound_alone_is_no_video(tmp_path) -> None:
    path = tmp_path / "sound.mp4"
    run_ffmpeg("-f", "lavfi", "-i", "sine=duration=1", "-c:a", "aac", str(path))
    with pytest.raises(InputError, match="holds no video stream"):
        read_video(path)


@pytest.mark.parametrize(
    "text",
    [
        "ffconcat version 1.0\nfile other.avi\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nother.avi\n#EXT-X-ENDLIST\n",
    ],
)
def test_a_playlist_never_reads_another_file(tmp_path, text: str) -> None:
    write_video(tmp_path / "other.avi", make_frames(3))
    path = tmp_path / "list.mp4"
    path.write_text(text)
    with pytest.raises(InputError):
        read_video(path)


def test_limits_on_time_output_and_memory_hold(tmp_path) -> None:
    path = write_video(tmp_path / "a.mp4", make_frames(40, 240, 320), 25)
    with pytest.raises(InputError, match=r"needed more than 0\.01 s"):
        read_video(path, limits=Limits(seconds=0.01))
    with pytest.raises(InputError, match="gave more than 0 MiB"):
        read_video(path, limits=Limits(output=1000))
    with pytest.raises(InputError):
        read_video(path, limits=Limits(memory=16 << 20))


def test_too_many_pixels_are_refused_before_they_are_decoded(tmp_path) -> None:
    path = tmp_path / "large.mkv"
    source = "color=size=8000x5008:rate=1:duration=1"
    run_ffmpeg("-f", "lavfi", "-i", source, "-c:v", "mpeg4", str(path))
    with pytest.raises(InputError, match="more than 40000000 pixels a frame"):
        read_video(path)


def test_a_video_of_too_many_frames_is_refused(tmp_path) -> None:
    path = tmp_path / "long.mkv"
    source = f"color=size=16x16:rate=1000:duration={(MAX_FRAMES + 500) / 1000}"
    run_ffmpeg("-f", "lavfi", "-i", source, "-c:v", "mpeg4", str(path))
    with pytest.raises(InputError, match=f"more than {MAX_FRAMES} frames"):
        read_video(path)


def test_frames_are_plain_jpeg(tmp_path) -> None:
    video = read_video(write_video(tmp_path / "a.mp4", make_frames(2)))
    with Image.open(io.BytesIO(video.frames[0])) as picture:
        assert (picture.format, picture.mode, picture.size) == ("JPEG", "RGB", (64, 48))


def test_a_file_of_no_known_format_is_called_so_as_predict_calls_it(tmp_path: Path) -> None:
    path = tmp_path / "notes.mp4"
    path.write_text("no video at all\n" * 50)
    with pytest.raises(InputError) as sniffed:
        sniff_kind(path)
    with pytest.raises(InputError) as read:
        read_video(path)
    assert str(read.value) == str(sniffed.value)
