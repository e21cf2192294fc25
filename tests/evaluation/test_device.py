"""Names of devices, and what is said when there is none of that name."""

import pytest
import torch

from ivvit_cli.evaluation.device import choose_device
from shards.errors import EnvironmentFault, UsageError


def test_the_default_is_the_gpu_if_there_is_one():
    assert choose_device(None).type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert choose_device("auto") == choose_device(None)
    assert choose_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "meta", "cpu:1", ""])
def test_other_names_are_a_usage_error(name):
    with pytest.raises(UsageError, match=f"--device {name}: no such device"):
        choose_device(name)


def test_a_gpu_that_is_not_there_is_an_environment_fault():
    with pytest.raises(EnvironmentFault, match="usable GPUs"):
        choose_device("cuda:99")
