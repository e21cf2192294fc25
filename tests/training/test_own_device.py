"""Each process has a GPU of its own; the GPUs are made up, what torch asks of names is not."""

import pytest
import torch

from ivvit_cli.errors import EnvironmentFault
from ivvit_cli.training.distributed import Ranks, own_device


@pytest.fixture
def chosen(monkeypatch):
    """Two GPUs, and the numbers of those that became the process's own."""
    numbers = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch._C, "_cuda_setDevice", numbers.append, raising=False)
    return numbers


@pytest.mark.parametrize(
    ("ranks", "wanted", "number"),
    [
        (Ranks(), "auto", 0),
        (Ranks(), "cuda", 0),
        (Ranks(), "cuda:1", 1),
        (Ranks(rank=1, world=2, local=1), "auto", 1),
        (Ranks(rank=1, world=2, local=1), "cuda:0", 1),
    ],
)
def test_a_process_has_a_gpu_of_its_own(chosen, ranks, wanted, number):
    assert own_device(ranks, wanted) == torch.device("cuda", number)
    assert chosen == [number]


def test_more_processes_than_gpus_are_refused(chosen):
    with pytest.raises(EnvironmentFault, match="2 usable GPUs"):
        own_device(Ranks(rank=2, world=3, local=2), "auto")
