"""Hostile weights, checkpoints and files to predict on, given to the commands that read them."""

import io
import json
import os
import pickle
import shutil
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import hostile_files as files
import numpy as np
import pytest
import torch
from hostile import Outcome, Traps, faults, run_batch, traps
from media import make_frames, write_image
from tiny_runs import make_shards, save_run, write_films, write_pictures

from ivvit_cli.runs import digest_document, digest_file

ESC = "\x1b]0;owned\x07\x1b[31m"
BASE = 1 << 30  # torch alone has half of it resident
ZEROS = 0x12 << 26  # bytes: 1.2 GB, which unpack from five megabytes
CHUNK = 1 << 24
Words = list[object]
Build = Callable[[Path, Traps], Words]


def imported(name: str, content: Callable[[Traps], bytes]) -> Build:
    """Return what imports a file of weights."""

    def build(root: Path, trap: Traps) -> Words:
        root.mkdir()
        (root / name).write_bytes(content(trap))
        return ["model", "import", root / name, "-o", root / "out.safetensors"]

    return build


def packed(zeros: int = 0, **members: bytes) -> bytes:
    """Return an archive as torch.save and numpy write it; so many zeros end its last member."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, content in members.items():
            with archive.open(name, "w", force_zip64=True) as member:
                member.write(content)
                for _ in range(zeros // CHUNK if name == list(members)[-1] else 0):
                    member.write(bytes(CHUNK))
    return file.getvalue()


def archive(pickled: bytes, zeros: int = 0) -> bytes:
    """Return a file as torch.save writes it, around a pickle of our own."""
    members = {"data.pkl": pickled, "version": b"3\n", "data/0": b""}
    return packed(zeros, **{f"archive/{name}": text for name, text in members.items()})


def saved(trap: Traps, *, zipped: bool) -> bytes:
    """Return what torch.save writes of an object that runs code."""
    file = io.BytesIO()
    document = {"a": files.Payload(trap.canary)}
    torch.save(document, file, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


def arrays(**values: np.ndarray) -> bytes:
    """Return a compressed archive of numpy's."""
    file = io.BytesIO()
    np.savez_compressed(file, **values)
    return file.getvalue()


def legacy_tar(trap: Traps) -> bytes:
    """Return weights as torch wrote them before 0.1.10, with a way out of the folder."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name in ("storages", "tensors", "pickle", f"../..{trap.canary}"):
            content = pickle.dumps(files.Payload(trap.canary))
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return file.getvalue()


def header(document: object) -> Callable[[Traps], bytes]:
    """Return a file of safetensors with a header of our own."""
    text = document if isinstance(document, bytes) else json.dumps(document).encode()
    return lambda _: struct.pack("<Q", len(text)) + text


STORAGE = (
    b"\x80\x02}X\x01\0\0\0actorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\n"
    b"FloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuJ\0\0\0\x12tQK\0J\0\0\0\x12\x85K\x01\x85\x89"
    b"ccollections\nOrderedDict\n)RtRs."
)
CLAIM = b"\x80\x02]" + b"cbuiltins\nbytearray\nJ\0\0\0\x7f\x85Ra" * 3 + b"."
LARGE = {"a": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}
ENTRY = "a/kernel"
WEIGHTS: dict[str, tuple[Build, int, str]] = {
    "zip runs": (imported("w.pth", lambda t: saved(t, zipped=True)), 3, "refused"),
    "old runs": (imported("w.pt", lambda t: saved(t, zipped=False)), 3, "refused"),
    "bare runs": (imported("w.bin", lambda t: pickle.dumps(files.Payload(t.canary))), 3, "refused"),
    "tar runs": (imported("w.tar", legacy_tar), 3, "refused"),
    "claim": (imported("w.pth", lambda _: CLAIM), 3, "refused"),
    "zip claim": (imported("w.pth", lambda _: archive(CLAIM)), 3, "refused"),
    "zip bomb": (imported("w.pth", lambda _: archive(STORAGE, ZEROS)), 3, "refused"),
    "npz runs": (imported("w.npz", lambda t: arrays(**{ENTRY: np.array([files.Payload(t.canary)],
        dtype=object)})), 3, "refused"),
    "length": (imported("w.safetensors", lambda _: struct.pack("<Q", 1 << 60)), 3, "safetensors"),
    "deep": (imported("w.safetensors", header(b'{"a":' + b"[" * 90_000)), 3, "safetensors"),
    "lies": (imported("w.safetensors", header(LARGE)), 3, "safetensors"),
}  # fmt: skip


def run(change: Callable[[Path, dict[str, object], Traps], None], *words: str) -> Build:
    """Return what changes a checkpoint and its meta.json, hashes and all, and predicts with it."""

    def build(root: Path, trap: Traps) -> Words:
        shutil.copytree(root.parent / "run", root, symlinks=True)
        checkpoint = root / "checkpoints/step-00000020"
        meta = json.loads((checkpoint / "meta.json").read_text())
        change(checkpoint, meta, trap)
        for name in meta["files"].keys() & {"model.safetensors", "state.pt"}:
            if (checkpoint / name).is_file():
                meta["files"][name] = digest_file(checkpoint / name)
        meta["sha256"] = digest_document(meta)
        (checkpoint / "meta.json").write_text(json.dumps(meta))
        if words:
            return [*words, root]
        return ["predict", root.parent / "films/val/run/00.mp4", "--ckpt", root]

    return build


def model(**args: object) -> Callable[..., None]:
    """Return what changes the arguments of the backbone."""
    return lambda checkpoint, meta, trap: meta["model"]["backbone_args"].update(args)


def backbone(name: Callable[[Traps], str]) -> Callable[..., None]:
    """Return what names another backbone."""
    return lambda checkpoint, meta, trap: meta["model"].update(backbone=name(trap))


def classes(checkpoint: Path, meta: dict, trap: Traps) -> None:
    """Give the classes names that a terminal would obey."""
    meta["heads"]["films"]["classes"] = [f"{ESC}a", "b\n\r"]


def pickled_state(checkpoint: Path, meta: dict, trap: Traps) -> None:
    """Put code into what training goes on from."""
    torch.save({"optimiser": files.Payload(trap.canary)}, checkpoint / "state.pt")


def file_elsewhere(checkpoint: Path, meta: dict, trap: Traps) -> None:
    """Name a secret, and a file without end, as files of the checkpoint."""
    meta["files"] |= {str(trap.text): "0" * 64, "/dev/zero": "0" * 64}


def weights_pipe(checkpoint: Path, meta: dict, trap: Traps) -> None:
    """Put a pipe in the place of the weights."""
    (checkpoint / "model.safetensors").unlink()
    os.mkfifo(checkpoint / "model.safetensors")


RESUME = ("train", "--resume")
RUNS: dict[str, tuple[Build, int, str]] = {
    "sound": (run(lambda *_: None), 0, "run/00.mp4"),
    "classes": (run(classes), 0, "owned"),
    "width": (run(model(embed_dim=1 << 16, num_heads=2)), 3, "in the weights, but"),
    "hub": (run(backbone(lambda _: "hf-hub:evil/repo")), 2, "unknown to timm"),
    "local": (run(backbone(lambda t: f"local-dir:{t.folder}")), 2, "unknown to timm"),
    "loads": (run(lambda c, m, t: m["model"]["backbone_args"].update(checkpoint_path=str(t.text))),
        2, "checkpoint_path cannot be set"),
    "weights pipe": (run(weights_pipe), 3, "there is no such file"),
    "state runs": (run(pickled_state, *RESUME), 3, "no "),
    "elsewhere": (run(file_elsewhere, *RESUME), 3, "no "),
}  # fmt: skip


def track(trap: Traps) -> bytes:
    """Return a QuickTime file whose frames lie in a secret."""
    return files.external_track(trap.folder / "track.mov", trap.video).read_bytes()


def predicted(name: str, content: Callable[[Traps], bytes], *options: str) -> Build:
    """Return what predicts on a file beside a sound one."""

    def build(root: Path, trap: Traps) -> Words:
        (root / f"dir {ESC}").mkdir(parents=True)
        (root / f"dir {ESC}" / name).write_bytes(content(trap))
        write_image(root / f"{ESC}\n.png", make_frames(1)[0])
        return [
            "predict",
            root,
            root / f"dir {ESC}" / name,
            "--ckpt",
            root.parent / "run",
            *options,
        ]

    return build


INPUTS: dict[str, tuple[Build, int, str]] = {
    "concat": (predicted("a.mp4", lambda t: files.concat_script(t.video).encode()), 3, "neither"),
    "hls json": (predicted("a", lambda t: files.hls_playlist(t.url).encode(), "--json"), 3, "a:"),
    "bomb": (predicted("-b.png", lambda _: files.png(20_000, 20_000)), 3, "more than 40 Mpx"),
    "scans": (predicted("%d.jpg", lambda _: files.jpeg_of_scans(3000)), 3, "more than 100 scans"),
    "track": (predicted("a.mov", track, "--window", "1", "--jsonl"), 3, "is cut short or damaged"),
    "windows": (predicted("|a.mp4", lambda t: files.hls_playlist(t.video).encode(), "--window", "1",
        "--csv"), 3, "neither"),
    "moments": (predicted("%d.gif", lambda _: files.gif((1, 1), (1, 1), 3000), "--window", "300"),
        0, r"\x1b"),
    "frames": (predicted("x:y.gif", lambda _: files.gif((1, 1), (1, 1), 40_000)), 3, "36000 fra"),
}  # fmt: skip
CASES = {
    f"{group} {name}": case
    for group, cases in (("weights", WEIGHTS), ("run", RUNS), ("input", INPUTS))
    for name, case in cases.items()
}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """Return the outcome of each case, and the traps that went off."""
    root = tmp_path_factory.mktemp("models")
    write_pictures(root / "pictures", ["ant", "bee"], 1)
    write_films(root / "films", ["run", "sit"], 1)
    datasets = {
        "pictures": make_shards("imagefolder", root / "pictures", root / "shards/pictures"),
        "films": make_shards("videofolder", root / "films", root / "shards/films"),
    }
    save_run(root / "run", datasets)
    with traps(root) as trap:
        commands = {
            name: build(root / name.replace(" ", "-"), trap) for name, (build, *_) in CASES.items()
        }
        done = run_batch(commands, cwd=root)
        yield done, trap.sprung(*root.glob("weights-*"))


def test_no_trap_goes_off(outcomes) -> None:
    assert outcomes[1] == set()


@pytest.mark.parametrize("name", CASES)
def test_each_ends_with_its_message(outcomes, name: str) -> None:
    _, code, message = CASES[name]
    outcome: Outcome = outcomes[0][name]
    assert faults(outcome, memory=2 * BASE, codes=(code,)) == []
    assert message in outcome.printed
