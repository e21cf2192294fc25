"""The Python of docs/weights.md runs on what the command line has exported."""

import re
from pathlib import Path
from typing import Any

import pytest
from exported import IMAGE, SIZES, VIDEO, save_model
from media import write_image
from tiny_runs import picture

PAGE = Path(__file__).parents[2] / "docs/weights.md"
BLOCKS = re.findall(r"```py\n(.*?)```", PAGE.read_text(), re.DOTALL)
NEEDED = {  # package: the run, and how it is exported
    "onnxruntime": ("small", "small-onnx", ["onnx", "--dataset", "ucf101"]),
    "transformers": ("plain", "plain-hub", ["huggingface"]),
    "ivvit_cli": ("small", "small.safetensors", ["safetensors"]),
    "timm": ("plain", "plain.safetensors", ["safetensors"]),
}


@pytest.mark.parametrize("package", NEEDED)
def test_an_example(package: str, ivvit_here: Any, tmp_path: Path, capsys: Any) -> None:
    pytest.importorskip(package)
    run, out, format_ = NEEDED[package]
    heads = (("ucf101", VIDEO[1]),) if run == "small" else (IMAGE,)
    kind = "token_shift" if run == "small" else "none"
    save_model(tmp_path / "runs" / run, {"kind": kind}, heads, backbone="vit_base_patch16_224")
    done = ivvit_here("model", "export", f"runs/{run}", "-o", out, "--format", *format_)
    assert done.code == 0, done.stderr
    write_image(Path("photo.jpg"), picture(24, 30, seed=1))
    (text,) = [block for block in BLOCKS if f'"{out}' in block]
    assert len(text.splitlines()) <= 10
    exec(text.replace("num_classes=0", f"num_classes=0, **{SIZES | {'depth': 1}}"), {})
    printed = capsys.readouterr().out.split("\n")
    if "print" in text:
        assert set(printed) & {*VIDEO[1], *IMAGE[1]}
