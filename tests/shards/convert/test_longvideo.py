"""Chosen frames of a video: the right ones, at any rate, and faults on the way."""

import random
import tracemalloc
from fractions import Fraction
from itertools import takewhile

import numpy as np
import pytest
import simplejpeg
from media import make_frames, run_ffmpeg, write_video

from shards.convert.command import Repair
from shards.convert.longvideo import look_at_video, stream_video
from shards.convert.mjpeg import split_chunks
from shards.convert.picking import MOST_TERMS, Picking
from shards.convert.process import LimitExceeded, Limits, stream_bounded
from shards.errors import EnvironmentFault, InputError

BITS = 9
FRAMES = 400


def numbered(count=FRAMES):
    """Return frames that show their own number, bit by bit, as black and white columns."""
    bits = np.arange(count)[:, None] >> np.arange(BITS) & 1  # (T, bits)
    columns = np.repeat(bits * 255, 8, axis=1).astype(np.uint8)
    return np.broadcast_to(columns[:, None, :, None], (count, 32, 8 * BITS, 3)).copy()


def number_of(jpeg):
    pixels = simplejpeg.decode_jpeg(jpeg, "GRAY")[16, 4::8, 0]
    return int(((pixels > 127) << np.arange(BITS)).sum())


def read(path, picking, **options):
    facts = look_at_video(path)
    arguments = {"short_side": 32, "rate": facts.rate, "quality": 3, "repair": facts.repair}
    arguments |= {"pick": picking.expression, "threads": 2, **options}
    return stream_video(path, **arguments)


ALL = Picking(1, 1.0, [0], 0)


@pytest.mark.parametrize("fps", ["25", "30000/1001", "12"])
def test_the_frames_are_those_that_the_numbers_say(tmp_path, fps):
    path = write_video(tmp_path / "a.mkv", numbered(), fps, args=("-c:v", "ffv1"))
    rate = look_at_video(path).rate
    assert rate == Fraction(fps)
    draw = random.Random(3)
    for _ in range(6):
        length = draw.randint(1, 90)
        hop = draw.choice([length, length / 2 + 1, draw.uniform(1, 200), float(rate)])
        offsets = sorted(draw.sample(range(length), min(length, draw.choice([1, 4, 16]))))
        picking = Picking(length, hop, offsets, draw.choice([0, 350, 10_000]))
        found = [number_of(frame) for frame in read(path, picking)]
        assert found == list(takewhile(lambda number: number < FRAMES, picking.numbers()))
        needed = {picking.start(k) + offset for k in range(FRAMES) for offset in offsets}
        assert set(found) == {n for n in range(FRAMES) if n in needed or n >= picking.tail}


def test_an_expression_takes_many_offsets_and_leaves_the_choice_where_there_are_too_many(tmp_path):
    path = write_video(tmp_path / "a.mkv", numbered(), 25, args=("-c:v", "ffv1"))
    many = Picking(FRAMES, 1000.0, range(MOST_TERMS), 10_000)
    assert len(list(read(path, many))) == MOST_TERMS
    more = Picking(FRAMES, 1000.0, range(MOST_TERMS + 1), 10_000)
    assert len(list(read(path, more))) == FRAMES
    assert list(takewhile(lambda number: number < 9, more.numbers())) == list(range(9))


def test_what_the_head_says(tmp_path):
    path = write_video(tmp_path / "a.mp4", make_frames(50), "24000/1001")
    facts = look_at_video(path)
    assert facts.rate == Fraction(24000, 1001)
    assert facts.seconds == pytest.approx(50 * 1001 / 24000, abs=0.02)
    assert not facts.repair
    for rate in ("1", "12.5", "30000/1001"):
        write_video(tmp_path / "b.mkv", make_frames(4), rate)
        assert look_at_video(tmp_path / "b.mkv").rate == Fraction(rate)
    bare = write_video(tmp_path / "a.m2v", make_frames(50), 24, args=("-c:v", "mpeg2video"))
    assert look_at_video(bare).seconds is None


def test_lines_of_interlaced_frames_are_joined(tmp_path):
    path = tmp_path / "a.mkv"
    source = ("-f", "lavfi", "-i", "testsrc=size=64x48:rate=50:duration=2")
    weave = ("-vf", "interlace", "-c:v", "mpeg2video", "-flags", "+ildct+ilme")
    run_ffmpeg(*source, *weave, str(path))
    facts = look_at_video(path)
    assert facts.repair.interlaced
    frames = list(read(path, Picking(10, 10.0, [0, 5], 10_000)))
    assert len(frames) == 2 * facts.rate * 2 / 10
    assert frames != list(read(path, Picking(10, 10.0, [0, 5], 10_000), repair=Repair()))


def test_a_picture_that_changes_its_size_keeps_the_numbers(tmp_path):
    """Larger frames in the middle: ffmpeg would count from nought again."""
    streams = []
    for scale in (1, 2):
        frames = numbered(150).repeat(scale, 1).repeat(scale, 2)
        made = write_video(
            tmp_path / f"{scale}.m2v", frames, 25, args=("-c:v", "mpeg2video", "-q:v", "2")
        )
        streams.append(made.read_bytes())
    path = tmp_path / "both.m2v"
    path.write_bytes(b"".join(streams))
    every = [number_of(frame) for frame in read(path, ALL)]
    picking = Picking(20, 20.0, [3, 11], 10_000)
    numbers = takewhile(lambda number: number < len(every), picking.numbers())
    assert len(every) > 290
    assert [number_of(frame) for frame in read(path, picking)] == [every[n] for n in numbers]


def test_frames_come_before_a_fault_does(tmp_path):
    path = write_video(tmp_path / "a.mkv", make_frames(200), 25)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    frames = read(path, ALL)
    assert next(frames)
    with pytest.raises(InputError, match=r"a\.mkv: is cut short or damaged"):
        list(frames)


@pytest.mark.parametrize(
    ("content", "fault"),
    [(b"", "neither an image"), (b"\x1a\x45\xdf\xa3", "its start is damaged"), (None, "no such")],
)
def test_what_is_no_video(tmp_path, content, fault):
    path = tmp_path / "a.mkv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=fault):
        look_at_video(path)


def test_a_long_video_takes_no_memory(tmp_path):
    """The frames of half an hour take far more than what is held of them at any time."""
    minute = write_video(tmp_path / "minute.mkv", make_frames(600, 32, 48), 10)
    path = tmp_path / "long.mkv"
    run_ffmpeg("-stream_loop", "29", "-i", str(minute), "-c", "copy", str(path))
    tracemalloc.start()
    try:
        sizes = [len(frame) for frame in read(path, ALL)]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(sizes) == 18_000
    assert sum(sizes) > 5 * peak


def test_a_process_is_ended_with_its_iterator():
    chunks = stream_bounded(["yes"], Limits(), lambda done: None)
    assert next(chunks)
    chunks.close()  # waits for the process: it would never end by itself


def test_a_process_that_says_nothing_is_ended():
    with pytest.raises(LimitExceeded, match="needed more than"):
        list(stream_bounded(["sleep", "60"], Limits(seconds=0.1), lambda done: None))


def test_a_program_that_is_not_there():
    with pytest.raises(EnvironmentFault, match="cannot be run"):
        list(stream_bounded(["/nowhere/ffmpeg"], Limits(), lambda done: None))


def test_a_stream_of_pictures_is_split_wherever_it_is_cut():
    pictures = [b"\xff\xd8" + bytes([k] * k) + b"\xff\xd9" for k in range(1, 6)]
    stream = b"".join(pictures)
    for size in range(1, 12):
        chunks = (stream[place : place + size] for place in range(0, len(stream), size))
        assert list(split_chunks(chunks)) == pictures
    with pytest.raises(ValueError, match="cut off"):
        list(split_chunks([stream[:-1]]))
