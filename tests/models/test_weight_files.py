"""Files of weights are hostile: nothing in one may run, and each fault is one line."""

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import huggingface_hub.constants
import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from small_models import small_model

from ivvit_cli.errors import EnvironmentFault, InputError, UsageError
from ivvit_cli.models import load_weights
from ivvit_cli.models.weights.files import read_notes, read_tensors, save_tensors


class Payload:
    """Unpickling one makes a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return os.mkdir, (str(self.mark),)


def refuse(source: Path | str, message: str) -> InputError:
    with pytest.raises(InputError, match=message) as caught:
        load_weights(small_model(), str(source))
    assert caught.value.exit_code == 3
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".pyth", ".bin", ".safetensors"])
@pytest.mark.parametrize("writer", ["zip", "legacy", "pickle"])
def test_a_pickle_that_would_run_code_does_not(tmp_path: Path, writer: str, suffix: str) -> None:
    mark, path = tmp_path / "mark", tmp_path / f"w{suffix}"
    document = {"state_dict": small_model().state_dict(), "extra": Payload(mark)}
    if writer == "pickle":
        path.write_bytes(pickle.dumps(document))
    else:
        torch.save(document, path, _use_new_zipfile_serialization=writer == "zip")
    refuse(path, "refused|cannot be read as safetensors")
    assert not mark.exists()
    if writer == "pickle":  # the payload is a real one
        pickle.loads(path.read_bytes())
        assert mark.exists()


def test_a_whole_module_is_refused(tmp_path: Path) -> None:
    torch.save(small_model().encoder.vit, tmp_path / "w.pt")
    assert "safetensors" in str(refuse(tmp_path / "w.pt", "refused").hint)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_a_cut_file(tmp_path: Path, suffix: str, share: float) -> None:
    path = tmp_path / f"w{suffix}"
    state = small_model().state_dict()
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    refuse(path, "refused|cannot be read as safetensors")


def test_a_file_of_other_things(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    for document in ([torch.ones(2)], {"epoch": 3}, {1: torch.ones(2)}, torch.ones(2)):
        torch.save(document, path)
        refuse(path, "holds no named tensors")
    path.write_text("<html>404</html>")
    refuse(path, "refused")
    (tmp_path / "w.docx").write_text("")
    refuse(tmp_path / "w.docx", "weights are read from")


@pytest.mark.parametrize("writer", ["pickled member", "pickle", "array", "text", "cut"])
def test_an_archive_of_numpy_that_is_none(tmp_path: Path, writer: str) -> None:
    mark, path = tmp_path / "mark", tmp_path / "w.npz"
    if writer == "pickled member":
        np.savez(path, **{"embedding/kernel": np.array([Payload(mark)], dtype=object)})
    elif writer == "pickle":
        path.write_bytes(pickle.dumps(Payload(mark)))
    elif writer == "array":
        with path.open("wb") as file:
            np.save(file, np.ones(3))
    elif writer == "text":
        np.savez(path, a=np.array(["text"]))
    else:
        np.savez(path, a=np.ones(100))
        path.write_bytes(path.read_bytes()[:-200])
    refuse(path, "refused: it is damaged, or holds more than arrays")
    assert not mark.exists()


def test_arrays_of_impossible_shapes(tmp_path: Path) -> None:
    base = {"Transformer/encoder_norm/scale": np.ones(24)}
    query = "Transformer/encoderblock_0/MultiHeadDotProductAttention_1/query/"
    for name in (f"{query}bias", f"{query}kernel", "a/out/kernel", "embedding/kernel"):
        for shape in ((), (0,), (3,), (2, 0), (1, 2, 3, 4, 5)):
            np.savez(tmp_path / "w.npz", **base, **{name: np.ones(shape)})
            refuse(tmp_path / "w.npz", r"is damaged \(google\)|fits only 1 of 30")


def test_a_document_that_holds_itself(tmp_path: Path) -> None:
    document: dict[str, object] = {}
    document["model"] = document
    torch.save(document, tmp_path / "w.pth")
    refuse(tmp_path / "w.pth", "holds no named tensors")


def test_a_tensor_that_shows_more_than_it_owns(tmp_path: Path) -> None:
    """A few bytes that claim to be a huge embedding would take the memory when resampled."""
    state = small_model().encoder.vit.state_dict()
    state["pos_embed"] = torch.zeros(1).expand(1, 1 + 60_000**2, 24)
    torch.save(state, tmp_path / "w.pth")
    refuse(tmp_path / "w.pth", r"lacks encoder\.vit\.pos_embed")


@pytest.mark.parametrize(
    "shape", [(24,), (1, 0, 24), (1, 7, 24), (1, 5, 8), (2, 5, 24), (24, 3, 0, 0), ()]
)
def test_embeddings_of_impossible_shapes(tmp_path: Path, shape: tuple[int, ...]) -> None:
    state = small_model(depth=5).encoder.vit.state_dict()
    state["pos_embed"] = torch.ones(shape)
    torch.save(state, tmp_path / "w.pth")
    model = small_model(depth=5, img_size=32)
    with pytest.raises(InputError, match=r"pos_embed is .* there and 1x17x24 in the model"):
        load_weights(model, str(tmp_path / "w.pth"))
    state["patch_embed.proj.weight"] = torch.ones(shape)
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(InputError, match=r"proj\.weight is .* there and 24x3x8x8 in the model"):
        load_weights(model, str(tmp_path / "w.pth"))


def test_absent_weights_are_the_environments_fault(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match="no such file of weights") as caught:
        load_weights(small_model(), str(tmp_path / "weights/tokshift-k400.pth"))
    assert caught.value.exit_code == 4
    assert "VideoNetworks/TokShift-Transformer" in str(caught.value.hint)
    with pytest.raises(EnvironmentFault, match="no such file of weights"):
        load_weights(small_model(), str(tmp_path / "other.pth"))
    refuse(tmp_path, "holds no checkpoint")
    refuse(f"{tmp_path}@step-3", "holds no checkpoint")
    refuse(f"{tmp_path}/other@step-3", "no such run")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub, and no network."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    return tmp_path


def cache(hub: Path, repo: str, file: str, state: dict[str, torch.Tensor]) -> None:
    """Put a file into the hub's cache, as if it had been downloaded."""
    folder = hub / f"models--{repo.replace('/', '--')}"
    revision = "0" * 40
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(revision)
    path = folder / "snapshots" / revision / file
    path.parent.mkdir(parents=True)
    save_file(state, path)


def test_weights_of_timm_and_of_the_hub(hub: Path) -> None:
    torch.manual_seed(1)
    vit = timm.create_model("test_vit.r160_in1k", pretrained=False)
    cache(hub, "timm/test_vit.r160_in1k", "model.safetensors", vit.state_dict())
    cache(hub, "owner/repo", "deep/er/w.safetensors", vit.state_dict())
    for source in (
        "timm:test_vit.r160_in1k",
        "timm:test_vit",
        "hf:timm/test_vit.r160_in1k",
        "hf:owner/repo/deep/er/w.safetensors",
    ):
        model = small_model("test_vit", heads={"in1k": 1000}, **TEST_VIT)
        report = load_weights(model, source, head="in1k")
        assert (report.format, report.share, report.unused) == ("timm", 1, ())
        state = model.encoder.vit.state_dict()
        assert all(
            torch.equal(state[key], value)
            for key, value in vit.state_dict().items()
            if not key.startswith("head")
        )
        (linear,) = model.heads["in1k"].linears
        assert torch.equal(linear.weight, vit.head.weight)


TEST_VIT = {
    "img_size": 160,
    "patch_size": 16,
    "embed_dim": 64,
    "depth": 6,
    "num_heads": 2,
    "mlp_ratio": 3,
}


def test_a_repository_in_parts_with_a_config(hub: Path) -> None:
    """Its class names come along from config.json, and so does its classifier."""
    torch.manual_seed(1)
    state = timm.create_model("test_vit", pretrained=False, num_classes=2).state_dict()
    first, second = list(state)[:9], list(state)[9:]
    places = dict.fromkeys(first, "model-1.safetensors") | dict.fromkeys(
        second, "model-2.safetensors"
    )
    cache(hub, "owner/repo", "model-1.safetensors", {key: state[key] for key in first})
    snapshot = hub / "models--owner--repo/snapshots" / ("0" * 40)
    save_file({key: state[key] for key in second}, snapshot / "model-2.safetensors")
    index = {"metadata": {}, "weight_map": places}
    (snapshot / "model.safetensors.index.json").write_text(json.dumps(index))
    (snapshot / "config.json").write_text(json.dumps({"id2label": {"0": "cat", "1": "Dog"}}))
    for source in ("hf:owner/repo", str(snapshot)):
        model = small_model("test_vit", heads={"pets": 2}, **TEST_VIT)
        report = load_weights(model, source, classes={"pets": ("dog", "cat")})
        assert (report.share, report.unused, report.heads) == (1, (), ("pets",))
        (linear,) = model.heads["pets"].linears
        assert torch.equal(linear.weight, state["head.weight"].flip(0))
    (snapshot / "model-2.safetensors").unlink()
    with pytest.raises(EnvironmentFault, match="hf:owner/repo: cannot be downloaded"):
        load_weights(small_model("test_vit", **TEST_VIT), "hf:owner/repo")


@pytest.mark.parametrize("source", ["timm:test_vit.r160_in1k", "hf:owner/repo", "hf:o/r/w.pth"])
def test_a_download_that_fails(hub: Path, source: str) -> None:
    with pytest.raises(EnvironmentFault, match=f"^{source}: cannot be downloaded: ") as caught:
        load_weights(small_model(), source)
    assert "\n" not in str(caught.value)


def test_without_a_network_the_cache_serves_or_one_line_says_so(tmp_path: Path) -> None:
    """As a process of its own, for the hub reads its variables when it is imported."""
    state = timm.create_model("test_vit", pretrained=False).state_dict()
    cache(tmp_path, "timm/test_vit.r160_in1k", "model.safetensors", state)
    absent = ["timm:vit_tiny_patch16_224", "hf:owner/repo"]
    cached = ["timm:test_vit.r160_in1k", "hf:timm/test_vit.r160_in1k"]
    code = (
        "import sys; from ivvit_cli.models.weights.source import read_source\n"
        "from ivvit_cli.errors import EnvironmentFault\n"
        "for source in sys.argv[1:]:\n"
        "    try: print(len(read_source(source).tensors))\n"
        "    except EnvironmentFault as error: print(error)\n"
    )
    offline = {"HF_ENDPOINT": "http://127.0.0.1:1", "HF_HUB_CACHE": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code, *absent, *cached],
        capture_output=True,
        text=True,
        env={**os.environ, **offline},
    )
    assert done.stderr == ""  # where the hub's client tries again, it says so
    *faults, first, second = done.stdout.splitlines()
    for source, fault in zip(absent, faults, strict=True):
        assert fault.startswith(f"{source}: cannot be downloaded: http://127.0.0.1:1: ")
    assert first == second == str(len(state))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("timm:resnet50", "is no Vision Transformer"),
        ("timm:vit_base_patch16_224.nonsense", "no such weights"),
        ("timm:vit_tiny_patch16_512", "is unknown"),
        ("timm:vit_small_patch16_36x1_224", "no such weights"),
        ("hf:owner", "OWNER/REPO"),
        ("hf:/repo", "OWNER/REPO"),
    ],
)
def test_sources_that_do_not_exist(hub: Path, source: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_weights(small_model(), source)


def test_what_is_written_has_the_permissions_of_any_file(tmp_path: Path) -> None:
    """The library's own writer makes a file that nobody else may read."""
    (tmp_path / "plain").touch()
    save_tensors({"a": torch.ones(2)}, tmp_path / "w.safetensors", {"note": "x"})
    assert (tmp_path / "w.safetensors").stat().st_mode == (tmp_path / "plain").stat().st_mode
    assert read_tensors(tmp_path / "w.safetensors")["a"].tolist() == [1, 1]
    assert read_notes(tmp_path / "w.safetensors")["note"] == "x"
