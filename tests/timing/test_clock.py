"""Clocks: how often work is done, and phases without gaps."""

import time

import torch

from ivvit_cli.timing.clock import Clock, Spread, Timeline, spread

CPU = torch.device("cpu")


def test_a_spread_is_median_least_and_most():
    assert spread([3.0, 1.0, 2.0]) == Spread(median=2.0, least=1.0, most=3.0)
    assert spread([4.0]) == Spread(4.0, 4.0, 4.0)


def test_long_work_is_done_twice_and_counted_once():
    calls = []
    [seconds] = Clock(CPU, 0.001).time(lambda: (calls.append(1), time.sleep(0.01)))
    assert len(calls) == 2
    assert seconds >= 0.01


def test_short_work_is_repeated():
    calls = []
    seconds = Clock(CPU, 0.2).time(lambda: (calls.append(1), time.sleep(0.001)))
    assert 1 <= len(seconds) <= 5
    assert len(calls) > len(seconds)
    assert min(seconds) >= 0.001


def test_phases_follow_one_another_without_a_gap():
    timeline = Timeline(CPU)
    start = time.perf_counter()
    timeline.begin()
    for phase, length in (("a", 0.02), ("b", 0.0), ("a", 0.01)):
        time.sleep(length)
        timeline.mark(phase)
    whole = time.perf_counter() - start
    spans = timeline.spans()
    assert [phase for phase, _ in spans] == ["a", "b", "a"]
    assert spans[0][1] >= 0.02
    assert spans[2][1] >= 0.01
    assert 0.03 <= sum(length for _, length in spans) <= whole
    timeline.begin()
    assert timeline.spans() == []
