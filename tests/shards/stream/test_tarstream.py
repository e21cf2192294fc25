"""The streaming reader gives the samples that the index gives, and refuses what is dangerous."""

import gzip
import io
import os
import pickle
import tarfile

import numpy as np
import pytest
from naive_shards import encode, numbered, picture, write_shards

from shards import open_dataset
from shards.errors import InputError
from shards.stream.tarstream import stream_samples

FRAME = encode(np.zeros((2, 2, 3), np.uint8), "ppm")


def write_tar(path, members):
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


@pytest.mark.parametrize("layout", ["mjpg", "frames"])
def test_videos_are_those_of_the_index(tmp_path, layout):
    samples = [(f"v{i}", i % 2, [numbered(16, 24, 9 * i + t) for t in range(9)]) for i in range(7)]
    folder = write_shards(tmp_path, samples, kind="video", layout=layout, fps=29.97)
    split = open_dataset(folder)["train"]
    assert list(stream_samples(folder)) == [split[i] for i in range(len(split))]


@pytest.mark.parametrize("codec", ["jpg", "png", "ppm"])
def test_images_are_those_of_the_index(tmp_path, codec):
    samples = [(f"i{k}", k % 2, [picture(9, 13, k)]) for k in range(4)]
    folder = write_shards(tmp_path, samples, codec=codec)
    split = open_dataset(folder)["train"]
    assert list(stream_samples(str(folder))) == [split[i] for i in range(len(split))]


def test_plain_foreign_tars(tmp_path):
    frame = encode(picture(20, 30, 1), "jpg")
    first = write_tar(
        tmp_path / "a.tar",
        [("x/cat.JPEG", frame), ("x/cat.cls", b"3\n"), ("x/cat.txt", b"a cat")],
    )
    second = write_tar(tmp_path / "b.tar", [("dog.jpg", frame), ("dog.json", b'{"label": 1}')])
    (cat, dog) = stream_samples([first, str(second)])
    assert (cat.key, cat.label, cat.class_name, cat.codec) == ("x/cat", 3, "3", "jpg")
    assert (cat.width, cat.height, cat.fps, cat.frames) == (30, 20, 0.0, [frame])
    assert (dog.key, dog.label) == ("dog", 1)
    assert [s.key for s in stream_samples(tmp_path)] == ["x/cat", "dog"]
    assert [s.key for s in stream_samples(second)] == ["dog"]


def test_a_pipe_is_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for url in ("pipe:touch ran", "http://127.0.0.1:9/a.tar", "file:a.tar"):
        with pytest.raises(InputError, match="URLs are not opened"):
            list(stream_samples(url))
        with pytest.raises(InputError, match="URLs are not opened"):
            list(stream_samples([url]))
    tar = write_tar(tmp_path / "a.tar", [("a.ppm", FRAME), ("a.cls", b"0")])
    tar.rename(tmp_path / "pipe:touch ran;.tar")
    assert [s.key for s in stream_samples(".")] == ["a"]
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("suffix", ["pyd", "pickle", "pkl", "frame.pth"])
def test_a_pickle_is_not_opened(tmp_path, suffix):
    class Boom:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    frame = encode(numbered(2, 2, 7), "ppm")
    members = [("a.ppm", frame), ("a.cls", b"0"), (f"a.{suffix}", pickle.dumps(Boom()))]
    tar = write_tar(tmp_path / "a.tar", members)
    with pytest.raises(InputError, match=rf"a\.tar: sample a: member \.{suffix} is a pickle"):
        list(stream_samples(tar))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([("a.ppm", FRAME)], "no label"),
        ([("a.cls", b"0")], "no image, no frames and no video"),
        ([("a.ppm", FRAME), ("a.png", FRAME), ("a.cls", b"0")], "2 images"),
        ([("a.ppm", FRAME), ("a.cls", b"cat")], "sample a: its label is a name, cat"),
        ([("a.png", FRAME), ("a.cls", b"0")], "not a readable png"),
        ([("a.mjpg", FRAME), ("a.cls", b"0")], "offsets"),
        (
            [("a.mjpg", b""), ("a.cls", b"0"), ("a.json", b'{"offsets": []}')],
            "offsets .* do not fit",
        ),
        (
            [("a.mjpg", b"x"), ("a.json", b'{"label": 0, "offsets": [0, 2]}')],
            "offsets .* do not fit",
        ),
        ([("a.ppm", FRAME), ("a.json", b"[" * 200_000)], "sample a: .*recursion"),
        ([("a.ppm", FRAME), ("a.json", b'{"label": 1e400}')], "sample a: has no label"),
        ([("a.ppm", FRAME), ("a.json", b"{")], "sample a"),
        ([("a.ppm", FRAME), ("a.json", b"[]"), ("a.cls", b"0")], "no mapping"),
        ([("a.ppm", FRAME), ("a.ppm", FRAME), ("a.cls", b"0")], "duplicate"),
    ],
)
def test_faulty_samples_are_named(tmp_path, members, message):
    tar = write_tar(tmp_path / "bad.tar", members)
    with pytest.raises(InputError, match=rf"bad\.tar: .*{message}"):
        list(stream_samples(tar))


@pytest.fixture
def sound(tmp_path):
    """A tar of two samples: where its headers and its end are, and its bytes."""
    members = [("a.ppm", FRAME), ("a.cls", b"0"), ("b.ppm", FRAME), ("b.cls", b"1")]
    path = write_tar(tmp_path / "sound.tar", members)
    with tarfile.open(path) as tar:
        heads = [member.offset for member in tar.getmembers()]
    assert len(list(stream_samples(path))) == 2
    return path, [*heads, heads[-1] + 1024], path.read_bytes()


def test_every_bit_of_a_header_and_of_the_end_counts(sound):
    path, heads, data = sound
    with path.open("r+b", buffering=0) as file:
        for place in (head + k for head in heads for k in range(512)):
            for bit in range(8):
                os.pwrite(file.fileno(), bytes([data[place] ^ 1 << bit]), place)
                with pytest.raises(InputError, match=rf"sound\.tar: byte {place & ~511}: "):
                    list(stream_samples(path))
            os.pwrite(file.fileno(), data[place : place + 1], place)


@pytest.mark.parametrize("count", [512, 1024, 1536])
def test_a_hole_is_not_the_end(sound, count):
    path, heads, data = sound
    path.write_bytes(data[: heads[2]] + bytes(count) + data[heads[2] + count :])
    with pytest.raises(InputError, match=rf"sound\.tar: byte {heads[2]}: "):
        list(stream_samples(path))


def test_what_comes_before_the_damage_is_read(sound):
    path, heads, data = sound
    path.write_bytes(data[: heads[3]] + b"x" + data[heads[3] + 1 :])
    samples = stream_samples(path)
    assert next(samples).key == "a"
    with pytest.raises(InputError, match=rf"byte {heads[3]}: the header's checksum"):
        next(samples)


def test_a_compressed_tar_is_refused(sound):
    path, _, data = sound
    path.write_bytes(gzip.compress(data))
    with pytest.raises(InputError, match=r"sound\.tar: is compressed by gzip"):
        list(stream_samples(path))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (tarfile.LNKTYPE, "sample a: its .ppm is a hard link, not a file"),
        (tarfile.SYMTYPE, "sample a: its .ppm is a symbolic link"),
        (tarfile.FIFOTYPE, "sample a: its .ppm is a pipe"),
        (tarfile.CHRTYPE, "sample a: its .ppm is a device"),
        (tarfile.GNUTYPE_SPARSE, "byte 0: a member of no known kind"),
        (b"M", "byte 0: a member of no known kind"),
    ],
)
def test_only_plain_members_are_read(tmp_path, kind, message):
    info = tarfile.TarInfo("a.ppm")
    info.type, info.linkname = kind, "/etc/passwd"
    path = tmp_path / "odd.tar"
    path.write_bytes(info.tobuf(tarfile.USTAR_FORMAT) + bytes(1024))
    with pytest.raises(InputError, match=rf"odd\.tar: {message}"):
        list(stream_samples(path))


@pytest.mark.parametrize(
    ("name", "size"), [("a.mjpg", 3 << 30), ("a.json", 1 << 25), ("a.txt", 3 << 30)]
)
def test_memory_is_bounded(tmp_path, name, size):
    info = tarfile.TarInfo(name)
    info.size = size
    tail = write_tar(tmp_path / "tail.tar", [("a.ppm", FRAME), ("a.cls", b"0")]).read_bytes()
    path = tmp_path / "huge.tar"
    with path.open("wb") as file:  # on the disk it is a hole
        file.write(info.tobuf(tarfile.USTAR_FORMAT))
        file.seek(size, os.SEEK_CUR)
        file.write(tail)
    if name == "a.txt":  # means nothing, so it is not even read
        assert [s.key for s in stream_samples(path)] == ["a"]
    else:
        with pytest.raises(InputError, match=r"huge\.tar: sample a: .*is larger than"):
            list(stream_samples(path))


def test_only_files_are_opened(tmp_path):
    os.mkfifo(tmp_path / "a.tar")
    with pytest.raises(InputError, match=r"a\.tar: no such file"):
        list(stream_samples(tmp_path))


def test_a_cut_tar_is_an_error_wherever_it_is_cut(tmp_path):
    samples = [(f"i{k}", 0, [picture(40, 40, k)]) for k in range(3)]
    folder = write_shards(tmp_path, samples, codec="ppm")
    data = (folder / "toy-train-000000.tar").read_bytes()
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        heads = [member.offset for member in tar.getmembers()]
    for cut in [0, 100, *heads, heads[2] + 700, heads[-1] + 512]:
        path = tmp_path / "cut.tar"
        path.write_bytes(data[:cut])
        with pytest.raises(InputError, match=r"cut\.tar"):
            list(stream_samples(path))


def test_a_folder_without_tars_and_a_missing_tar(tmp_path):
    with pytest.raises(InputError, match="holds no tar"):
        list(stream_samples(tmp_path))
    with pytest.raises(InputError, match=r"none\.tar"):
        list(stream_samples(tmp_path / "none.tar"))
