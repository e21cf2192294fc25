"""Hostile lists, pickles, recipes and folders of shards, given to the commands that read them.

Each case makes its files and names a command; what is expected is the exit code and a part of the
message. The traps, and the bounds on memory and time, are those of hostile.py.
"""

import json
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hostile import Outcome, Traps, faults, run_batch, traps
from hostile_files import Payload
from media import make_frames, write_image

ESC = "\x1b]0;owned\x07\x1b[31m"
Words = list[object]
Case = tuple[Callable[[Path, Traps], Words], int, str]


def cifar(meta: Callable[[Path], bytes], batch: bytes | None = None) -> Callable[..., Words]:
    """Return what writes CIFAR-10 with a hostile `batches.meta`, or a hostile batch beside it."""

    def build(root: Path, trap: Traps) -> Words:
        root.mkdir()
        (root / "batches.meta").write_bytes(meta(trap.canary))
        pixels = np.zeros((2, 3072), np.uint8)
        sound = pickle.dumps({"data": pixels, "labels": [0, 1], "filenames": ["../../a"]}, 2)
        for name in (*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"):
            (root / name).write_bytes(batch or sound)
        return ["shard", "cifar10", root, "-o", f"{root}-out"]

    return build


def names(*classes: str) -> Callable[[Path], bytes]:
    """Return what writes a sound `batches.meta`."""
    return lambda _: pickle.dumps({"label_names": list(classes)}, 2)


def lists(dataset: str, *options: str, **files: object) -> Callable[..., Words]:
    """Return what writes text files, `__` for a slash and `_txt` for a dot, beside a picture."""

    def build(root: Path, trap: Traps) -> Words:
        write_image(root / "a.png", make_frames(1)[0])
        for name, content in files.items():
            path = root / name.replace("__", "/").replace("_txt", ".txt").replace("_csv", ".csv")
            path.parent.mkdir(parents=True, exist_ok=True)
            text = content(trap) if callable(content) else str(content)
            path.write_bytes(text.encode("utf-8", "surrogateescape"))
        return ["shard", dataset, root, "-o", f"{root}-out", *options]

    return build


def special(dataset: str, name: str, make: Callable[[Path], None]) -> Callable[..., Words]:
    """Return what puts a pipe or a device in the place of a list."""

    def build(root: Path, _: Traps) -> Words:
        path = root / name
        path.parent.mkdir(parents=True)
        make(path)
        return ["shard", dataset, root, "-o", f"{root}-out"]

    return build


def recipe(content: Callable[[Traps], str]) -> Callable[..., Words]:
    """Return what checks a recipe."""

    def build(root: Path, trap: Traps) -> Words:
        root.mkdir()
        (root / "r.yaml").write_text(content(trap))
        return ["recipe", "check", root / "r.yaml"]

    return build


def rows(*lines: tuple[str, ...]) -> str:
    """Return lines of csv."""
    return "".join(",".join(line) + "\n" for line in lines)


def zero(path: Path) -> None:
    """Make a link to a file without end."""
    path.symlink_to("/dev/zero")


BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]\n" for a, b in ("ab", "bc", "cd", "de", "ef", "fg")
)
LONG = struct.pack("<Q", 1 << 34)
KINETICS = ("label", "youtube_id", "time_start", "time_end", "split")
SSV2 = {"labels__labels.json": '{"Doing": "0"}'}

CASES: dict[str, Case] = {
    # pickles that run code, claim memory, or lead elsewhere
    "cifar runs": (cifar(lambda c: pickle.dumps(Payload(c))), 3, "posix.mkdir"),
    "cifar batch runs": (cifar(names("a", "b"), pickle.dumps(Payload(Path("canary")))), 3, "posix"),
    "cifar eval": (cifar(lambda _: b"\x80\x02cbuiltins\neval\nX\x01\0\0\x001\x85R."), 3, "eval"),
    "cifar getattr": (cifar(lambda _: b"cbuiltins\ngetattr\n(S'a'\nS'b'\ntR."), 3, "getattr"),
    "cifar stack": (cifar(lambda _: b"\x80\x04\x8c\x02os\x8c\x06system\x93."), 3, "os.system"),
    "cifar memo": (cifar(lambda _: b"\x80\x02}r\xff\xff\xff\x0f."), 3, "has no list label_names"),
    "cifar array": (cifar(lambda _: b"\x80\x05\x96" + LONG + b"."), 3, "CIFAR"),
    "cifar text": (cifar(lambda _: b"\x80\x04\x8d" + LONG + b"."), 3, "CIFAR"),
    "cifar deep": (cifar(lambda _: b"(" * 90_000 + b"l" * 90_000 + b"."), 3, "hold a"),
    "cifar names": (cifar(names(f"{ESC}a", "b\n../../c")), 0, "written to"),
    # lists
    "csv pipes": (lists("csv", train_csv=lambda t: rows(("pipe:mkdir canary", "a"), (t.url, "a"),
        ("concat:a.png", "a"), ("/dev/zero", "a"), ("a.png", "a"))), 0, "4 missing"),
    "csv names": (lists("csv", train_csv=rows((f"{ESC}.png", f"{ESC}b"), ("a.png", f"{ESC}a"))), 0,
        "1 missing"),
    "csv text": (lists("csv", train_csv=lambda t: rows((str(t.folder / "x"), "a"), ("a.png", "a"))),
        0, "1 skipped"),
    "csv field": (lists("csv", train_csv=f'a.png,"{"x" * 200_000}"\n'), 3, "cannot be read as csv"),
    "csv bytes": (lists("csv", train_csv="\udcff\udcfe\0"), 3, "cannot be read"),
    "csv nul": (lists("csv", train_csv="a\0.png,a\n"), 3, "holds none of"),
    "csv times": (lists("csv", train_csv="a.png,a,train,nan,inf\n"), 3, "are no part of a video"),
    "csv line": (lists("csv", train_csv=f"{ESC},\n"), 3, "expected path,label"),
    "kinetics field": (lists("kinetics", train_csv=rows(KINETICS, ("x" * 200_000,) * 5)), 3, "csv"),
    "kinetics times": (lists("kinetics", train_csv=rows(KINETICS, (ESC, "i", "inf", "1", "train"))),
        3, "not a row"),
    "kinetics header": (lists("kinetics", train_csv="x," * 200_000), 3, "no class folder"),
    "ssv2 deep": (lists("ssv2", **{"labels__labels.json": "[" * 90_000}), 3, "be read as JSON"),
    "ssv2 up": (lists("ssv2", **SSV2, **{"labels__train.json":
        '[{"id": "../../x", "template": "Doing"}]'}), 3, "entry 1"),
    "ssv2 pipe": (special("ssv2", "labels/labels.json", os.mkfifo), 3, "no such file"),
    "ssv2 zero": (special("ssv2", "labels/labels.json", zero), 3, "no such file"),
    "tiny up": (lists("tiny-imagenet", wnids_txt="../../outside\n", train=""), 3, "no name of a"),
    "tiny pipe": (special("tiny-imagenet", "wnids.txt", os.mkfifo), 3, "has no wnids.txt"),
    "hmdb up": (lists("hmdb51", label_map_txt="../../outside\n", trainlist01_txt="x 1\n",
        testlist01_txt="x 1\n"), 3, "no name of a folder"),
    "moments up": (lists("moments", moments_categories_txt="../../a,0\n",
        trainingSet_csv="x.mp4,../../a,1,0\n"), 3, "not in moments_categories"),
    "moments root": (lists("moments", moments_categories_txt="a,0\n",
        trainingSet_csv="/etc/x.mp4,a,1,0\n"), 3, "not in moments_categories"),
    "ucf up": (lists("ucf101", classInd_txt="1 a\n", trainlist01_txt="a/../../x.avi 1\n",
        testlist01_txt="a/../../x.avi\n"), 3, "list01.txt:1"),
    # recipes
    "recipe tag": (recipe(lambda t: f"a: !!python/object/apply:os.mkdir ['{t.canary}']"), 2, "tag"),
    "recipe tag key": (recipe(lambda t: f"? !!python/name:os.system\n: {t.canary}\n"), 2, "tag"),
    "recipe laughs": (recipe(lambda _: BOMB), 2, "too many or too deeply nested"),
    "recipe deep": (recipe(lambda _: "[" * 100_000), 2, "too deeply nested"),
    "recipe long": (recipe(lambda _: "a: " + "x" * 2_000_000), 2, "larger than"),
    "recipe keys": (recipe(lambda _: f"{json.dumps(ESC)}: 1\n"), 2, "r.yaml:1"),
    "recipe up": (recipe(lambda t: f"extends: {t.folder / 'x'}\n"), 2, "is a mapping of sections"),
    "recipe zero": (recipe(lambda _: "extends: /dev/zero\n"), 2, "no such file"),
    "recipe pipe": (recipe(lambda t: f"model: {{backbone: 'pipe:mkdir {t.canary}'}}\n"), 2, "pipe"),
}  # fmt: skip


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """Return the outcome of each case, and the traps that went off."""
    root = tmp_path_factory.mktemp("input")
    with traps(root) as trap:
        (trap.folder / "x").write_bytes(b"TOP-SECRET-5f0a1b\n")
        commands = {
            name: build(root / name.replace(" ", "-"), trap) for name, (build, *_) in CASES.items()
        }
        done = run_batch(commands, cwd=root)
        written = [path for path in root.glob("*-out") if path.is_dir()]
        shown = run_batch({path.name: ["data", "show", path] for path in written}, cwd=root)
        yield done, shown, trap.sprung(*written), (root / "canary").exists()


def test_no_trap_goes_off(outcomes) -> None:
    _, _, sprung, canary = outcomes
    assert sprung == set()
    assert not canary


@pytest.mark.parametrize("name", CASES)
def test_each_ends_with_its_message(outcomes, name: str) -> None:
    _, code, message = CASES[name]
    outcome: Outcome = outcomes[0][name]
    assert faults(outcome, codes=(code,)) == []
    assert message in outcome.stderr


def test_what_was_written_is_shown_without_control_characters(outcomes) -> None:
    shown = outcomes[1]
    assert shown.keys() == {*("cifar-names-out", "csv-pipes-out", "csv-names-out", "csv-text-out")}
    assert [faults(outcome, codes=(0,)) for outcome in shown.values()] == [[]] * 4
    assert all("owned" in shown[name].printed for name in ("cifar-names-out", "csv-names-out"))
