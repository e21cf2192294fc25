"""Every kind of model computes the same in ONNX Runtime, in batches of any size."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from exported import CLIP, FRAMES, IMAGE, MEAN, SIZE, VIDEO, normalised, save_model
from media import write_video
from tiny_runs import film
from torch import Tensor

from ivvit_cli.errors import EnvironmentFault, IvvitError
from ivvit_cli.exporting import onnx_files
from ivvit_cli.exporting.frames import moving_frames
from ivvit_cli.exporting.onnx_files import export_onnx
from ivvit_cli.models import JointModel
from ivvit_cli.models.temporal import KINDS
from shards.convert.video import read_video
from shards.stream.decode import decode_frame

onnxruntime = pytest.importorskip("onnxruntime", reason="pip install ivvit[onnx]")
pytest.importorskip("onnxscript", reason="pip install ivvit[onnx]")

OPTIONS: dict[str, dict[str, Any]] = {
    "divided": {"frames": FRAMES},
    "joint": {"frames": 2 * FRAMES},
    "tubelet": {"frames": FRAMES, "depth": 1},
    "am_flow": {
        "adapter": {"kind": "plain", "width": 8},
        "unit": {"kind": "lstm", "tokens": "all"},
    },
    "st_adapter": {"width": 8},
    "adaptformer": {"width": 8, "adapters": "per-dataset"},
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[JointModel, Path]:
    """Return a model, and the folder of its two files."""
    folder = tmp_path_factory.mktemp("files")
    section = {"separate": ["patch", "pos", "cls"]}
    model, checkpoint = save_model(folder / "run", {"kind": "token_shift"}, section=section)
    export_onnx(checkpoint, folder / "out")
    return model, folder / "out"


def run_file(path: Path, pixels: Tensor) -> np.ndarray:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(["logits"], {"pixels": pixels.numpy()})[0]


def compare(model: JointModel, dataset: str, path: Path, pixels: Tensor) -> None:
    expected = model(normalised(pixels), dataset).detach().numpy()
    assert np.ptp(expected) > 0.1  # else nothing would be compared
    np.testing.assert_allclose(run_file(path, pixels), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind(kind: str, tmp_path: Path) -> None:
    model, checkpoint = save_model(
        tmp_path / "run", {"kind": kind, **OPTIONS.get(kind, {})}, (VIDEO,)
    )
    notes = export_onnx(checkpoint, tmp_path / "out")
    assert notes["ucf.onnx"]["difference"] < 1e-4
    for count in (1, 5):
        pixels = moving_frames(count, FRAMES, SIZE, seed=7)
        compare(model, "ucf", tmp_path / "out/ucf.onnx", pixels)


def test_hiera(tmp_path: Path) -> None:
    sizes = {"img_size": 64, "embed_dim": 8, "stages": (1, 1, 1, 1)}
    model, checkpoint = save_model(
        tmp_path / "run", None, (VIDEO,), backbone="hiera_tiny_224", **sizes
    )
    export_onnx(checkpoint, tmp_path / "out")
    compare(model, "ucf", tmp_path / "out/ucf.onnx", moving_frames(3, FRAMES, 64))


def test_a_file_per_head(files: tuple[JointModel, Path]) -> None:
    model, out = files
    assert {path.name for path in out.iterdir()} == {"ucf.onnx", "pets.v1.onnx"}
    compare(model, "pets.v1", out / "pets.v1.onnx", moving_frames(3, 1, SIZE)[:, 0])
    for path in out.iterdir():
        assert b".py" not in path.read_bytes()  # no trace of this machine


def test_a_file_says_what_it_takes_and_gives(files: tuple[JointModel, Path]) -> None:
    session = onnxruntime.InferenceSession(files[1] / "ucf.onnx")
    (given,) = session.get_inputs()
    assert (given.name, given.type) == ("pixels", "tensor(uint8)")
    assert given.shape == ["batch", FRAMES, 3, SIZE, SIZE]
    noted = session.get_modelmeta().custom_metadata_map
    about = {name: json.loads(value) for name, value in noted.items()}
    assert about.items() >= {**CLIP, "dataset": "ucf", "kind": "video", "size": SIZE}.items()
    assert (about["classes"], about["mean"]) == (VIDEO[1], list(MEAN))


def test_the_command(ivvit_here: Any, tmp_path: Path) -> None:
    save_model(tmp_path / "run")
    command = ["model", "export", "run", "-o", "out", "--format", "onnx", "--dataset"]
    unknown = ivvit_here(*command, "pets")
    assert (unknown.code, "did you mean pets.v1?" in unknown.stderr) == (2, True)
    done = ivvit_here(*command, "pets.v1")
    assert "pixels uint8 (B, 3, 16, 16); logits differ from torch's by at most" in done.stdout
    assert "next: python -c 'import onnxruntime" in done.stderr
    assert [path.name for path in Path("out").iterdir()] == ["pets.v1.onnx"]
    again = ivvit_here(*command, "pets.v1")
    assert (again.code, "out: exists already" in again.stderr) == (2, True)


def test_weights_that_one_file_cannot_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_files, "_LARGEST", 0)
    model, checkpoint = save_model(tmp_path / "run", None, (IMAGE,))
    notes = export_onnx(checkpoint, tmp_path / "out")
    assert {*notes} == {path.name for path in tmp_path.glob("out/*")}
    assert {*notes} == {"pets.v1.onnx", "pets.v1.onnx.data"}
    pictures = moving_frames(2, 1, SIZE)[:, 0]
    compare(model, "pets.v1", tmp_path / "out/pets.v1.onnx", pictures)


def test_a_file_that_differs_is_not_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_files, "TOLERANCE", 0.0)
    _, checkpoint = save_model(tmp_path / "run", None, (IMAGE,))
    with pytest.raises(IvvitError, match=r"pets\.v1: ONNX Runtime's logits differ from torch's"):
        export_onnx(checkpoint, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_the_packages_may_be_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(EnvironmentFault, match="needs the package onnxscript") as caught:
        export_onnx(tmp_path / "run", tmp_path / "out")
    assert caught.value.hint == "pip install 'ivvit[onnx]'"


def test_frames_are_like_those_of_a_film() -> None:
    frames = moving_frames(2, 3, 32).float()
    assert frames.shape == (2, 3, 3, 32, 32)
    assert frames.std() > 40  # grey levels: all of them are there
    moved = (frames[:, 1:, :, :-2, :-2] - frames[:, :-1, :, 2:, 2:]).abs().mean()
    still = (frames[:, 1:] - frames[:, :-1]).abs().mean()
    assert moved < 6 < still


def read_frames(path: Path) -> Tensor:
    """Return the first frames of a video, cut as a user would, uint8 (1, T, 3, H, W)."""
    video = read_video(path, short_side=SIZE)
    frames = np.stack([decode_frame(frame, "jpg") for frame in video.frames[:FRAMES]])
    cut = torch.from_numpy(frames[:, :SIZE, :SIZE]).permute(0, 3, 1, 2)
    return cut.contiguous()[None]


def test_frames_of_a_video(files: tuple[JointModel, Path], tmp_path: Path) -> None:
    write_video(tmp_path / "clip.mp4", film(FRAMES, 48, 64, seed=1), fps=12)
    compare(files[0], "ucf", files[1] / "ucf.onnx", read_frames(tmp_path / "clip.mp4"))


def test_frames_of_real_videos(files: tuple[JointModel, Path], real_data: Path) -> None:
    for path in sorted(real_data.glob("UCF101/**/*.avi"))[::60]:
        compare(files[0], "ucf", files[1] / "ucf.onnx", read_frames(path))
