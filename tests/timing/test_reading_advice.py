"""What is made of windows of reading: rates that add up, and one line of advice."""

import re
from collections import Counter

import pytest

from ivvit_cli.timing.advice import Stored, advise
from ivvit_cli.timing.reading import Window, thread_counts
from shards.stream.pool import available_cores

FITTING = {"a": Stored(320, 320, 0.4), "b": Stored(330, 320, 0.6)}


def said(datasets=FITTING, rates=None, threads=4, share=0.9, remote=False):
    return advise(
        datasets, rates or {1: 10.0, 4: 40.0, 8: 41.0}, threads=threads, share=share, remote=remote
    )


def test_a_window_s_rates_add_up():
    window = Window(Counter(a=30, b=10), seconds=4.0, share=0.5)
    assert window.rate(["a"]) == 7.5
    assert window.rate(["b"]) == 2.5
    assert window.rate(["a", "b"]) == 10.0
    assert window.rate([]) == 0


@pytest.mark.parametrize("own", [0, 1, 3, 1000])
def test_threads_are_doubled_up_to_the_cores(own):
    counts = thread_counts(own)
    assert counts == sorted(set(counts))
    assert {1, own, available_cores()} <= set(counts)
    doubled = [n for n in counts if n not in (own, available_cores())]
    assert doubled == [1 << k for k in range(len(doubled))] or own in (1, 2, 4, 8)


def test_more_threads_come_first():
    assert said(rates={1: 10.0, 4: 40.0, 8: 60.0}) == (
        "loader.threads=8 reads 1.5 x as fast as the 4 of now"
    )


def test_a_network_that_is_slower_than_decoding_is_named():
    assert "network" in said(share=0.3, remote=True)
    assert "network" not in said(share=0.9, remote=True)
    assert "network" not in said(share=0.3, remote=False)


def test_large_frames_are_named_where_most_is_saved():
    stored = {"a": Stored(640, 320, 0.2), "b": Stored(480, 320, 0.8)}
    line = said(stored)
    assert re.match(r"b: frames of 480 pixels .* need 320: .*--short-side 320`", line)
    assert line.endswith(f"leaves out {0.8 * (1 - 4 / 9):.0%} of all decoding")


def test_large_frames_are_no_matter_where_decoding_is_none():
    stored = {"a": Stored(640, 320, 0.2), "b": Stored(480, 320, 0.8)}
    assert "--short-side" not in said(stored, share=0.1)


def test_a_slow_disk_is_told_from_slow_cores():
    assert "the disk" in said(share=0.3)
    assert said() == "reading is as fast as these cores decode: faster with more of them"
