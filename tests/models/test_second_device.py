"""Every model trains and evaluates on a device that is not the CPU, as on it, and never waits.

The device is one in Python (`second_device`): it shows what a GPU would refuse, not its speed.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

TCN, TRANSFORMER = {"kind": "tcn"}, {"kind": "transformer"}  # torch has no LSTM for such devices
MODELS: dict[str, dict[str, Any]] = {
    "none": {},
    "token_shift": {"temporal": {"kind": "token_shift"}},
    "msca": {"temporal": {"kind": "msca"}},
    "msca-p": {"temporal": {"kind": "msca", "variant": "pQKV", "backward": 1, "forward": 2}},
    "divided": {"temporal": {"kind": "divided", "frames": 8}},
    "joint": {"temporal": {"kind": "joint", "frames": 4}},
    "space_only": {"temporal": {"kind": "space_only"}},
    "tubelet": {"temporal": {"kind": "tubelet", "frames": 4}},
    "separate": {"model": {"separate": ["patch", "pos", "cls"]}},
    "am_flow-tcn": {"temporal": {"kind": "am_flow", "unit": TCN}},
    "am_flow-vanilla": {
        "temporal": {
            "kind": "am_flow",
            "flow": {"kind": "vanilla"},
            "unit": TRANSFORMER,
        }
    },
    "hyperformer": {
        "temporal": {"kind": "am_flow", "adapter": {"kind": "hyperformer"}, "unit": TCN}
    },
    "compacter": {"temporal": {"kind": "am_flow", "adapter": {"kind": "compacter"}, "unit": TCN}},
    "st_adapter": {"temporal": {"kind": "st_adapter"}},
    "adaptformer": {"temporal": {"kind": "adaptformer"}, "model": {"freeze": ["backbone"]}},
    "lora": {"model": {"freeze": ["backbone"], "lora": {"rank": 2}}},
}
UPDATES: dict[str, dict[str, Any]] = {
    "mixing": {"update": {"mixing": {"mixup": 0.2, "cutmix": 1.0}, "label_smoothing": 0.1}},
    "rand_augment": {"update": {"changes": {"ops": 2, "magnitude": 9}}},
    "recomputed": {"model": {"temporal": {"kind": "divided", "frames": 4}}, "recompute": True},
}
SETTINGS = {name: {"model": model} for name, model in MODELS.items()} | UPDATES
KINDS = ("video", "image")


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    """Return what the worker says of every setting, from one process."""
    plain = {"model": {}, "update": {}, "recompute": False}
    given = {name: plain | setting for name, setting in SETTINGS.items()}
    worker = Path(__file__).with_name("device_worker.py")
    ended = subprocess.run(
        [sys.executable, worker], input=json.dumps(given), capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


@pytest.mark.parametrize("name", SETTINGS)
def test_an_update_is_what_it_is_on_the_cpu(found: dict[str, Any], name: str) -> None:
    for kind in KINDS:
        here, there = (found[name]["train"][f"{where} {kind} fp32"] for where in ("cpu", "second"))
        assert there["loss"] == pytest.approx(here["loss"], rel=1e-4)
        assert there["norm"] == pytest.approx(here["norm"], rel=1e-3)
        assert there["weights"] == pytest.approx(here["weights"], rel=1e-3)
        mixed = found[name]["train"][f"second {kind} bf16"]
        assert mixed["loss"] == pytest.approx(here["loss"], rel=0.1)


@pytest.mark.parametrize(
    "name", [n for n in SETTINGS if n != "rand_augment"]
)  # torchvision's code waits
def test_an_update_waits_for_the_device_once(found: dict[str, Any], name: str) -> None:
    """Its losses are read back, once, to see that they are finite."""
    for precision in ("fp32", "bf16"):
        for kind in KINDS:
            assert found[name]["train"][f"second {kind} {precision}"]["waits"] == ["_to_copy"]


@pytest.mark.parametrize("name", SETTINGS)
def test_an_evaluation_is_what_it_is_on_the_cpu_and_does_not_wait(
    found: dict[str, Any], name: str
) -> None:
    here, there = (found[name]["eval"][where] for where in ("cpu", "second"))
    assert there["scores"] == pytest.approx(here["scores"], rel=1e-3, abs=1e-3)
    assert there["waits"] == []
