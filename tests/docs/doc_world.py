"""A small world in which the documented commands run: what they name is there, and tiny.

A command runs as it is printed, but for this:

- a path from home or from the root lies in the world: `~/x` is `home/x`, `/x` is `root/x`;
- a model that is trained, timed or explained is tiny, from random weights, and trained for one
  iteration (`TINY`);
- a table only shows its rows; at smoke scale it runs its first one;
- what is read and is not there is made: datasets as they are distributed, shards, runs, files.
"""

import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import layouts
import timm
import torch
from media import make_frames, write_image, write_video

from ivvit_cli import app
from ivvit_cli.config import load_recipe
from ivvit_cli.config.tables import load_table
from ivvit_cli.demo.datasets import MOVING, SHAPES
from ivvit_cli.errors import RecipeError
from shards.convert.dataset import convert

BACKBONE = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 4, "num_heads": 4}
TINY = [
    "model.backbone=vit_tiny_patch16_224",
    f"model.backbone_args={BACKBONE}",
    "model.weights=null",
    "schedule.iterations=1",
    "schedule.epochs=null",
]
WRITTEN = ("--run", "--run-dir", "-o", "--out")  # the next word is not read
HEADS = {"tiny-imagenet": "images", "cifar100": "images", "ucf101": "videos"}  # of every run
RUN = """\
model: {backbone: vit_tiny_patch16_224, temporal: {kind: token_shift}}
schedule: {iterations: 1}
optim: {lr: 1e-3}
eval: {every: 1}
data:
"""


def make_base(base: Path) -> None:
    """Write shards of images and of videos, and a run on three datasets, to be copied."""
    for name, drawn in (("images", SHAPES), ("videos", MOVING)):
        replace(drawn, per_class={"train": 4, "val": 2}).write(base / "media" / name, seed=0)
        convert(f"{drawn.kind}folder", base / "media" / name, base / name)
    recipe = RUN
    for head, kind in HEADS.items():
        clip = ", clip: {sample: uniform, frames: 4}" if kind == "videos" else ""
        recipe += f"  {head}: {{shards: {base / kind}, batch: 2{clip}}}\n"
    (base / "run.yaml").write_text(recipe)
    run = f"{base}/run"
    assert app.run(["train", "--recipe", f"{base}/run.yaml", "--run", run, *TINY]) == 0
    assert app.run(["eval", run]) == 0


class World:
    """The working directory of a page's commands.

    Args:
        folder: becomes the working directory.
        base: where `make_base` has written.
    """

    def __init__(self, folder: Path, base: Path) -> None:
        self.base = base
        self.lent: set[Path] = set()  # shards that stand in for those of a command not run yet
        folder.mkdir()

    def translate(self, words: list[str]) -> list[str]:
        """Return the words after `ivvit` as they are run here, after making what they name.

        Must be called in the working directory.
        """
        words = ["runs/run" if word == "RUN" else _move(word) for word in words]
        for before, word in zip(["", *words], words, strict=False):
            if before not in WRITTEN and not word.startswith("-"):
                self._make(Path(word.rpartition("=")[2].partition("@")[0]))
        if words[0] == "shard":
            self._make_source(words[1], Path(words[2]))
        words += _smaller(words)
        self._make_shards(words)
        return words

    def find(self, words: list[str]) -> bytes:
        """Return what `find` prints of a folder with a video."""
        words = [_move(word) for word in words]
        self._make(Path(words[1], "a.mp4"))
        return subprocess.run(words, check=True, stdout=subprocess.PIPE).stdout

    def _make(self, path: Path) -> None:
        if path.exists():
            return
        if path.suffix in FILES:
            path.parent.mkdir(parents=True, exist_ok=True)
            FILES[path.suffix](path)
        elif path.parent == Path("runs"):
            shutil.copytree(self.base / "run", path, symlinks=True)
        elif path.parent == Path("data"):
            self._lend("videos", path)

    def _make_source(self, dataset: str, source: Path) -> None:
        if not source.exists():
            LAYOUTS[dataset](source)
        if dataset == "csv":
            for line in source.read_text().splitlines():
                self._make(Path(line.partition(",")[0]))
        for folder in self.lent & {Path("data", dataset), Path("data", source.name)}:
            shutil.rmtree(folder)
            self.lent.remove(folder)

    def _lend(self, kind: str, folder: Path) -> None:
        shutil.copytree(self.base / kind, folder)
        self.lent.add(folder)

    def _make_shards(self, words: list[str]) -> None:
        """Make the shards of the recipe among the words, if there is one."""
        changes = [word for word in words if "=" in word and not word.startswith("-")]
        for word in words[1:]:
            try:
                recipe = load_recipe(word, changes)
            except RecipeError:
                continue
            for section in recipe.data.values():
                if not Path(section.shards).exists():
                    self._lend("videos" if section.clip else "images", Path(section.shards))
            return


def _move(word: str) -> str:
    """Return a word with its path, if it has one from home or the root, within the world."""
    return re.sub(r"(^|=)(~?)/(?=\w)", lambda m: f"{m[1]}{'home' if m[2] else 'root'}/", word)


def _smaller(words: list[str]) -> list[str]:
    """Return what makes a command small."""
    match words:
        case ["bench", *_]:
            return ["--seconds", "1", *TINY]
        case [("train" | "explain"), *rest] if {"--recipe", "--model"} & set(rest):
            return TINY
        case ["table", name, *rest] if "smoke" in rest and "--rows" not in rest:
            return ["--rows", next(iter(load_table(name).rows))]
        case ["table", _, *rest] if not {"smoke", "--dry-run"} & set(rest):
            return ["--dry-run"]
    return []


def _kinetics(root: Path) -> None:
    """Write a Kinetics-400 of which three videos are there, and the two lists of mini-Kinetics."""
    names = [f"class {number:03d}" for number in range(400)]
    lists = root / "annotations"
    lists.mkdir(parents=True)
    (lists / "label_map_k400.txt").write_text("\n".join(names) + "\n")
    for split, first, last in (("train", 0, 200), ("val", 200, 201)):
        ids = {number: f"{number:011d}" for number in range(first, last)}
        (lists / f"{split}_ytid_list.txt").write_text("\n".join(ids.values()) + "\n")
        rows = [f"{names[number % 200]},{key},0,10,{split}\n" for number, key in ids.items()]
        header = "label,youtube_id,time_start,time_end,split\n"
        (lists / f"{split}.csv").write_text(header + "".join(rows))
        for number, key in list(ids.items())[:2]:
            write_video(root / f"{split}/{key}_000000_000010.mp4", make_frames(seed=number))


def _weights(path: Path) -> None:
    torch.save(timm.create_model("vit_tiny_patch16_224", **BACKBONE).state_dict(), path)


LAYOUTS: dict[str, Callable[[Path], object]] = {
    "cifar100": layouts.cifar100,
    "tiny-imagenet": layouts.tiny_imagenet,
    "ucf101": layouts.ucf101,
    "kinetics400": _kinetics,
    "mini-kinetics": _kinetics,
    "imagefolder": layouts.imagefolder,
    "videofolder": lambda root: [layouts.videofolder(root / name) for name in ("train", "val")],
}
FILES: dict[str, Callable[[Path], object]] = {
    ".mp4": lambda path: write_video(path, make_frames(), fps=1),  # 12 seconds
    ".jpg": lambda path: write_image(path, make_frames(1)[0]),
    ".pth": _weights,
}
