"""Which conversion and which clips a head sees a file with, and what its scores are called."""

import numpy as np

from ivvit_cli.prediction.heads import Head, Reading, make_heads

CLIP = {"sample": "window", "frames": 16, "seconds": 2.67, "stride": None}


def described(kind, short_side, clip=None):
    conversion = {"short_side": short_side, "fps": None, "quality": 4 if clip else None}
    return {"kind": kind, "classes": ("a", "b"), "clip": clip, "conversion": conversion}


def test_a_file_of_the_heads_own_kind_is_read_like_its_dataset():
    heads = make_heads({"k": described("video", 256, CLIP), "i": described("image", 64)})
    window = Reading(256, None, 4, "window", 16, 2.67, None)
    assert heads[0].readings == {"video": window, "image": Reading(short_side=64)}
    assert heads[1].readings == {"video": window, "image": Reading(short_side=64)}


def test_a_file_of_the_other_kind_is_read_as_the_first_head_of_that_kind_reads_it():
    dense = {"sample": "dense", "frames": 8, "seconds": None, "stride": 32}
    heads = make_heads(
        {
            "i": described("image", 64),
            "first": described("video", 256, CLIP),
            "second": described("video", None, dense),
            "j": described("image", None),
        }
    )
    readings = {head.name: head.readings for head in heads}
    assert readings["i"]["video"] == readings["j"]["video"] == readings["first"]["video"]
    assert readings["second"]["video"] == Reading(None, None, 4, "dense", 8, None, 32)
    assert readings["first"]["image"] == readings["second"]["image"] == Reading(short_side=64)
    assert readings["j"]["image"] == Reading()


def test_without_a_head_of_that_kind_there_is_a_default():
    (image,) = make_heads({"i": described("image", 64)})
    assert image.readings["video"] == Reading(320, None, 3, "uniform", 8)
    (video,) = make_heads({"v": described("video", 256, CLIP)})
    assert video.readings["image"] == Reading()


def test_the_best_labels_come_first_and_equal_ones_in_class_order():
    head = Head("toy", "image", ("a", "b", "c", "d"), {})
    scores = np.array([0.2, 0.3, 0.2, 0.3], np.float32)
    assert [label for label, _ in head.best(scores, 3)] == ["b", "d", "a"]
    assert len(head.best(scores, 9)) == 4
    assert head.best(scores, 1) == [("b", float(np.float32(0.3)))]
