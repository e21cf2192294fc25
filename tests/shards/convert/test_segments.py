"""Parts of videos: frame for frame what decoding the whole video gives for that time."""

import random
from pathlib import Path

import pytest
from media import make_frames, write_video

from shards.convert.video import read_video
from shards.errors import InputError

CODECS = {  # long distances between key frames, and frames stored in another order than shown
    "b.mp4": ("-c:v", "libx264", "-g", "60", "-bf", "3"),
    "c.mp4": ("-c:v", "mpeg4", "-g", "12"),
    "d.webm": ("-c:v", "libvpx", "-g", "40", "-b:v", "1M"),
    "e.mkv": ("-c:v", "libx264", "-g", "250"),
    "f.avi": ("-c:v", "mpeg4", "-g", "30"),
    "g.ts": ("-c:v", "libx264", "-g", "50", "-bf", "2"),
    "h.mpg": ("-c:v", "mpeg2video", "-g", "15", "-bf", "2"),
}
FPS = 25
COUNT = 110


@pytest.mark.parametrize("name", list(CODECS))
def test_a_segment_has_the_frames_of_its_time(tmp_path: Path, name: str) -> None:
    path = write_video(tmp_path / name, make_frames(COUNT), FPS, CODECS[name])
    whole = read_video(path)
    assert len(set(whole.frames)) == COUNT
    generator = random.Random(name)
    bounds = [(0.0, 0.5), (1.0, 2.0), (2.48, 2.52), (4.0, 9.0)]
    bounds += [(s, s + generator.uniform(0.1, 2)) for s in (generator.uniform(0, 4) for _ in "abc")]
    for start, end in bounds:
        part = read_video(path, segment=(start, end))
        wanted = [whole.frames[n] for n in range(COUNT) if start <= n / FPS < end]
        assert part.frames == wanted, (start, end)
        assert not part.resampled
        assert part.fps == pytest.approx(FPS if len(wanted) > 1 else 1)


def test_a_segment_at_another_rate(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", make_frames(100), FPS)
    part = read_video(path, segment=(1.0, 3.0), fps=5)
    assert (len(part.frames), part.fps) == (10, 5)
    inside = read_video(path, segment=(1.0, 3.0)).frames
    assert [inside.index(frame) // 5 for frame in part.frames] == list(range(10))


def test_a_segment_behind_the_end_holds_no_frame(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", make_frames(10), FPS)
    with pytest.raises(InputError, match="holds no frame"):
        read_video(path, segment=(5, 6))


@pytest.mark.parametrize(
    "name",
    [
        "kinetics400/val/arm wrestling/C4lCVBZ3ux0_000028_000038.mp4",
        "kinetics400/val/bungee jumping/dAeUFSdYG1I_000010_000020.mp4",
        "something-something-v2/samples/smth-smth-1.webm",
        "other-video/asl_gestures/yes.mkv",
    ],
)
def test_segments_of_real_videos(real_data: Path, name: str) -> None:
    """The companion on generated data is test_a_segment_has_the_frames_of_its_time."""
    path = real_data / name
    whole = read_video(path)
    seconds = len(whole.frames) / whole.fps
    parts = [read_video(path, segment=(seconds * n / 4, seconds * (n + 1) / 4)) for n in range(4)]
    joined = [frame for part in parts for frame in part.frames]
    assert joined == whole.frames[: len(joined)]
    assert len(whole.frames) - len(joined) <= 2  # the last frames may lie past count / rate
