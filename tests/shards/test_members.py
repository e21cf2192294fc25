"""What the members of a tar of others mean: samples, pictures, labels, and what is wrong."""

import io
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from media import make_frames
from PIL import Image

from shards.describe import Description, describe
from shards.labels import ClassList, Label
from shards.manifest import Kind
from shards.members import Group, SampleFault, group_samples, sample_key
from shards.tarwalk import FOLDER, Member


def picture(codec: str, width: int = 20, height: int = 10, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(make_frames(1, height, width)[0]).save(file, codec, **options)
    return file.getvalue()


JPG, PNG, PPM = (picture(codec) for codec in ("JPEG", "PNG", "PPM"))
Files = dict[str, bytes]


def found(files: Files, *, kind: Kind | None = None, fps: float | None = None) -> Description:
    """Describe the one sample that files of these names and contents make."""
    members, place = [], 0
    for name, data in files.items():
        members.append(Member(name, place, len(data)))
        place += len(data)
    tar = b"".join(files.values())
    (group,) = group_samples(members)
    return describe(group, lambda start, size: tar[start : start + size], kind=kind, fps=fps)


def fault(files: Files, kind: Kind | None = None) -> str:
    with pytest.raises(SampleFault) as caught:
        found(files, kind=kind)
    return f"{caught.value.kind}: {caught.value}"


@pytest.mark.parametrize(
    ("name", "data", "codec"),
    [
        *(("a.jpg", JPG, "jpg"), ("a.JPEG", JPG, "jpg"), ("a.PNG", PNG, "png")),
        *(("a.ppm", PPM, "ppm"), ("x/y/a.input.jpg", JPG, "jpg"), ("./a.image.png", PNG, "png")),
    ],
)
def test_an_image_in_any_case_and_place(name: str, data: bytes, codec: str) -> None:
    folder = name.rpartition("/")[0]
    sample = found({name: data, f"{folder}/a.cls".lstrip("/"): b"3\n"})
    assert (sample.kind, sample.codec, sample.frames) == ("image", codec, [(0, len(data))])
    assert (sample.width, sample.height, sample.fps) == (20, 10, 0.0)
    assert (sample.label, sample.key) == (Label(3, None), "x/y/a" if "x/" in name else "a")


@pytest.mark.parametrize(
    "form",
    ["{:06d}.jpg", "frame_{:04d}.jpg", "{}.JPG", "img_{:05d}.jpeg", "frame{:06d}.jpg", "{}.png"],
)
@pytest.mark.parametrize("first", [0, 1, 8])
def test_frames_are_in_the_order_of_their_numbers(form: str, first: int) -> None:
    data = PNG if form.endswith("png") else JPG
    names = [f"v.{form.format(number)}" for number in (first + 2, first, first + 1)]
    sample = found({**dict.fromkeys(names, data), "v.json": b'{"label": 1, "fps": 12.5}'})
    size = len(data)
    assert sample.frames == [(size, size), (2 * size, size), (0, size)]
    assert (sample.kind, sample.fps, sample.label) == ("video", 12.5, Label(1, None))


def test_a_rate_that_is_not_told_is_the_one_given_or_none() -> None:
    files = {"v.0.jpg": JPG, "v.1.jpg": JPG, "v.cls": b"0"}
    assert found(files).fps == 0.0
    assert found(files, fps=29.97).fps == float(np.float32(29.97))
    assert found(files | {"v.json": b'{"fps": 30}'}, fps=29.97).fps == 30


def test_all_frames_in_one_member() -> None:
    about = {"offsets": [0, len(JPG), 2 * len(JPG)], "label": 2, "class": "jump", "fps": 10}
    sample = found({"v.mjpg": JPG + JPG, "v.json": json.dumps(about).encode()})
    assert sample.frames == [(0, len(JPG)), (len(JPG), len(JPG))]
    assert (sample.kind, sample.codec, sample.label) == ("video", "jpg", Label(2, "jump"))


@pytest.mark.parametrize(
    ("files", "label"),
    [
        ({"a.cls": b" 12 \n"}, Label(12, None)),
        ({"a.cls": b"tench"}, Label(None, "tench")),
        ({"a.txt": b"a great white shark\n"}, Label(None, "a great white shark")),
        ({"a.txt": b"7"}, Label(7, None)),
        ({"a.cls": b"7", "a.txt": b"some words\non two lines"}, Label(7, None)),
        ({"a.json": b'{"label": 3}'}, Label(3, None)),
        ({"a.json": b'{"label": 3.0}'}, Label(3, None)),
        ({"a.json": b'{"label": "cat"}'}, Label(None, "cat")),
        ({"a.json": b'{"label": 3, "class": "10"}'}, Label(3, "10")),
        ({"a.json": b'{"class": "cat"}'}, Label(None, "cat")),
        ({"a.json": b'{"class": 4}'}, Label(4, None)),
        ({"a.cls": b"3", "a.json": b'{"label": "cat"}'}, Label(3, "cat")),
        ({"a.cls": b"3", "a.json": b'{"class": "cat", "width": 9}'}, Label(3, "cat")),
        ({"a.json": b'{"url": "u"}', "a.txt": b"cat"}, Label(None, "cat")),
    ],
)
def test_labels(files: Files, label: Label) -> None:
    assert found({"a.jpg": JPG, **files}).label == label


def test_of_several_images_the_one_that_is_meant() -> None:
    for others in ({"a.seg.png": PNG}, {"a.output.jpg": JPG}, {"a.mask.png": PNG, "a.d.png": PNG}):
        assert found({**others, "a.jpg": JPG, "a.cls": b"0"}).codec == "jpg"
    sample = found({"a.output.jpg": JPG, "a.input.png": PNG, "a.cls": b"0"})
    assert sample.codec == "png"
    assert found({"a.mp4": b"x", "a.jpg": JPG, "a.cls": b"0"}, kind="image").kind == "image"
    assert found({"a.224.jpg": JPG, "a.cls": b"0"}).kind == "image"
    assert found({"a.224.jpg": JPG, "a.cls": b"0"}, kind="video").kind == "video"
    assert found({"a.0.jpg": JPG, "a.cls": b"0"}).kind == "video"
    assert found({"a.0.jpg": JPG, "a.cls": b"0"}, kind="image").kind == "image"


CLS = {"a.cls": b"0"}
TEXTS = ("cls", "json", "txt")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a.jpg": JPG}, "missing_member: has no label"),
        ({"a.jpg": JPG, "a.json": b"{}"}, "missing_member: has no label"),
        ({"a.jpg": JPG, "a.cls": b" "}, "missing_member: has no label"),
        (CLS, "missing_member: has no image, no frames and no video"),
        ({"a.png": PNG, "a.jpg": JPG, **CLS}, "missing_member: has 2 images"),
        ({"a.x.png": PNG, "a.y.jpg": JPG, **CLS}, "missing_member: has 2 images"),
        ({"a.0.jpg": JPG, "a.2.jpg": JPG, **CLS}, "missing_member: lacks frame 1"),
        ({"a.0.jpg": JPG, "a.00.jpg": JPG, **CLS}, "duplicate_key: a duplicate"),
        ({"a.0.jpg": JPG, "a.1.png": PNG, **CLS}, "bad_media: has frames of several formats"),
        (
            {"a.0.jpg": JPG, "a.1.jpg": picture("JPEG", 8, 8), **CLS},
            "bad_media: changes its picture size",
        ),
        ({"a.jpg": JPG, "a.cls": b"-1"}, "label: label -1 is out of range"),
        ({"a.jpg": JPG, "a.cls": b"9" * 5000}, "label: label 99999999999999999999 is out of"),
        ({"a.jpg": JPG, "a.cls": b"1", "a.json": b'{"label": 2}'}, "label: .cls says 1, .json"),
        ({"a.jpg": JPG, "a.txt": b"a\nb"}, "label: its label is no class"),
        ({"a.jpg": JPG, "a.txt": b"\x1b[31mcat"}, "label: its label is no class"),
        ({"a.jpg": JPG, "a.txt": b"word " * 100}, "label: its label is no class"),
        ({"a.jpg": JPG, "a.json": b"{"}, "bad_media: its .json cannot be read"),
        ({"a.jpg": JPG, "a.json": b"[" * 200_000}, "bad_media: its .json cannot be read"),
        ({"a.jpg": JPG, "a.json": b"[]"}, "bad_media: its .json holds no mapping"),
        ({"a.jpg": b"", **CLS}, "bad_media: not a readable jpg"),
        ({"a.jpg": PNG, **CLS}, "bad_media: not a readable jpg"),
        ({"a.jpg": JPG[:-9], **CLS}, "bad_media: not a readable jpg"),
        ({"a.png": PNG[:-60], **CLS}, "bad_media: not a readable png"),
        ({"a.ppm": PPM[:-9], **CLS}, "bad_media: not a readable ppm"),
        ({"a.mjpg": JPG, **CLS}, "bad_media: its .json has no offsets"),
        ({"a.mjpg": JPG, "a.json": b'{"label": 0, "offsets": [0, 9]}'}, "bad_media: the offsets"),
        ({"a.mjpg": JPG, "a.json": b'{"label": 0, "offsets": [0]}'}, "bad_media: the offsets"),
        ({"a.mjpg": JPG, "a.json": b'{"label": 0, "offsets": [true]}'}, "bad_media: its .json"),
        ({"a.0.jpg": JPG, "a.json": b'{"label": 0, "fps": -1}'}, "bad_media: its .json has an fps"),
        ({"a.0.jpg": JPG, "a.json": b'{"label": 0, "fps": NaN}'}, "bad_media: its .json has an f"),
        ({"a.0.jpg": JPG, "a.json": b'{"label": 0, "fps": "25"}'}, "bad_media: its .json has an f"),
        ({"a.jpg": JPG, "a.pyd": b"x", **CLS}, "pickle: member .pyd is a pickle"),
        ({"a.jpg": JPG, "a.x.pth": b"x", **CLS}, "pickle: member .x.pth is a pickle"),
        ({"a.mp4": b"x", **CLS}, "convert: is a mp4 file"),
        ({"a.webp": b"x", **CLS}, "convert: is a webp file"),
        ({"../a.jpg": JPG, "../a.cls": b"0"}, "bad_key: its name leads out of the folder"),
        ({"/a.jpg": JPG, "/a.cls": b"0"}, "bad_key: its name leads out of the folder"),
        ({"a\nb.jpg": JPG, "a\nb.cls": b"0"}, "bad_key: its name holds characters"),
        ({"a\x1b[2J.jpg": JPG, "a\x1b[2J.cls": b"0"}, "bad_key: its name holds characters"),
        ({"pipe:id a.jpg": JPG, "pipe:id a.cls": b"0"}, "bad_key: it is named like a command"),
        ({"http://h/a.jpg": JPG, "http://h/a.cls": b"0"}, "bad_key: it is named like a command"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(files: Files, message: str) -> None:
    assert fault(files).startswith(message)


def test_the_other_kind_is_no_sample_of_this_kind() -> None:
    assert fault({"a.jpg": JPG, **CLS}, "video") == "missing_member: holds an image, not a video"
    assert fault({"a.mp4": b"x", **CLS}, "image") == "missing_member: has no image"


def test_a_jpeg_with_bytes_behind_its_end_is_decoded_and_taken() -> None:
    assert found({"a.jpg": JPG + bytes(40), **CLS}).width == 20
    assert found({"a.png": PNG + b"more", **CLS}).width == 20


def groups(*names: str, kind: str = "a file") -> list[Group]:
    return list(group_samples(Member(name, 512 * place, 1) for place, name in enumerate(names)))


def faults(*names: str) -> list[tuple[str, str]]:
    return [(group.key, group.fault.kind if group.fault else "") for group in groups(*names)]


def test_members_are_grouped_and_others_passed_over() -> None:
    names = ("__meta__", "__x__/a.jpg", ".hidden.jpg", "d/._a.jpg", "README", "d/a.jpg")
    assert faults(*names, "d/a.cls", "b.jpg", "d/", "a.") == [("d/a", ""), ("b", "")]
    folder = Member("x.jpg", 0, 0, FOLDER)
    assert not list(group_samples([folder]))


def test_keys_that_come_again() -> None:
    assert faults("a.jpg", "a.cls", "a.jpg", "a.cls") == [("a", "duplicate_key")]
    later = faults("a.jpg", "a.cls", "b.jpg", "a.jpg", "a.cls")
    assert later == [("a", ""), ("b", ""), ("a", "duplicate_key")]
    mixed = faults("a.jpg", "b.jpg", "a.cls", "b.cls")
    assert mixed == [("a", ""), ("b", ""), ("a", "interleaved"), ("b", "interleaved")]


def test_keys_fit_the_index() -> None:
    assert sample_key("a/b-c d") == "a/b-c d"
    for key in ("ö", "k" * 81, "кот/1"):
        assert sample_key(key).isascii()
        assert len(sample_key(key)) <= 80
        assert sample_key(key) != sample_key(key + "ä")


def test_class_lists_number_names_and_check_numbers() -> None:
    classes = ClassList(["cat", "dog"])
    assert classes.number(Label(None, "dog")) == classes.number(Label(1, "hound")) == 1
    for label in (Label(None, "cow"), Label(2, None), Label(2, "cat")):
        with pytest.raises(SampleFault, match="none of the 2 classes"):
            classes.number(label)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(
    st.dictionaries(
        st.sampled_from([f"a.{name}" for name in ("jpg", "png", "ppm", "0.jpg", "mjpg", *TEXTS)]),
        st.binary(max_size=40)
        | st.sampled_from([JPG, PNG, PPM])
        | st.recursive(
            st.none() | st.floats() | st.integers() | st.text(max_size=4),
            lambda inner: st.dictionaries(
                st.sampled_from(["label", "class", "fps", "offsets"]), inner | st.lists(inner)
            ),
        ).map(lambda value: json.dumps(value).encode()),
        min_size=1,
    )
)  # fmt: skip
def test_whatever_is_in_it_a_sample_is_sound_or_has_a_fault(files: Files) -> None:
    try:
        sample = found(files)
    except SampleFault:
        return
    assert sample.frames
    assert sample.width > 0
