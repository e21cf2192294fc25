"""`ivvit explain` from outside: its files, and what it refuses."""

import numpy as np
import pytest
import tiny_runs
from media import write_image, write_video
from PIL import Image

from ivvit_cli import app
from ivvit_cli.runs import find_checkpoint
from shards.convert.video import read_video

RECIPE = """\
model:
  backbone: vit_tiny_patch16_224
  backbone_args: {img_size: 32, patch_size: 8, embed_dim: 32, depth: 2, num_heads: 2}
data:
  films: {shards: data/films, batch: 2, clip: {sample: uniform, frames: 6}}
schedule: {iterations: 1}
optim: {lr: 1e-3}
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Return a folder with a run, a recipe, a video and an image."""
    root = tmp_path_factory.mktemp("explain")
    tiny_runs.write_films(root / "films", ["run", "walk"], 1)
    tiny_runs.write_pictures(root / "pictures", ["ant", "bee"], 1)
    shards = {
        "toys": tiny_runs.make_shards("imagefolder", root / "pictures", root / "toys"),
        "films": tiny_runs.make_shards("videofolder", root / "films", root / "shards"),
    }
    tiny_runs.save_run(root / "run", shards)
    tiny_runs.save_run(root / "other", shards, seed=5)
    write_video(root / "clip.mp4", tiny_runs.film(9, 48, 64, seed=4), fps=12)
    write_image(root / "photo.png", tiny_runs.picture(40, 60, seed=7))
    (root / "mine.yaml").write_text(RECIPE)
    return root


@pytest.fixture
def explain(root, tmp_path, capsys, monkeypatch):
    """Run `ivvit explain` in a fresh folder."""
    monkeypatch.chdir(tmp_path)

    def run(file, *args):
        code = app.run(["explain", str(root / file), *map(str, args)])
        return code, *capsys.readouterr()

    return run


def test_a_video_has_pictures_arrays_and_films(explain, root, tmp_path):
    code, out, _ = explain("clip.mp4", "--ckpt", root / "run", "--map", "am-flow", "--blocks", 2)
    assert code == 0
    folder = tmp_path / "clip-am-flow"
    names = ["strip.png", "maps.npz", "overlay.gif", "overlay.mp4"]
    assert out.splitlines() == [f"clip-am-flow/{name}" for name in names]
    with np.load(folder / "maps.npz") as arrays:
        assert arrays["frames"].shape == (4, 32, 32, 3)
        assert arrays["block_2"].shape == (4, 4, 4, 2)
    film = read_video(folder / "overlay.mp4")
    with Image.open(folder / "overlay.gif") as gif:
        assert gif.n_frames == 4
        assert (len(film.frames), film.width, film.height) == (4, *gif.size)
    with Image.open(folder / "strip.png") as strip:
        assert strip.width > 4 * 128
        assert strip.height > 2 * 128


def test_an_image_has_no_film(explain, root, tmp_path):
    code, out, _ = explain("photo.png", "--ckpt", root / "run", "--map", "rollout", "--json")
    assert (code, '"blocks": [\n    1,\n    2\n  ]' in out) == (0, True)
    names = {path.name for path in (tmp_path / "photo-rollout").iterdir()}
    assert names == {"strip.png", "maps.npz"}


def test_a_recipe_needs_no_training(explain, root, tmp_path):
    args = ("--model", root / "mine.yaml", "--frames", 3, "-o", "here", "--map", "am-flow")
    code, _, err = explain("clip.mp4", *args, "model.backbone_args.depth=1")
    assert (code, err.rstrip().endswith("mine.yaml model.backbone_args.depth=1")) == (0, True)
    with np.load(tmp_path / "here/maps.npz") as arrays:
        assert set(arrays) == {"frames", "block_1"}
        assert len(arrays["frames"]) == 3


def test_a_recipe_brings_parts_of_its_model(explain, root, tmp_path):
    args = ("clip.mp4", "--model", root / "mine.yaml", "--frames", 3, "--blocks", 2, "-o")
    part = f"model.parts={{encoder.vit.blocks.1.attn.*: {root / 'other'}}}"
    assert [explain(*args, "fresh")[0], explain(*args, "theirs", part)[0]] == [0, 0]
    fresh, theirs = (np.load(tmp_path / name / "maps.npz") for name in ("fresh", "theirs"))
    assert not np.allclose(fresh["block_2"], theirs["block_2"])


def test_nothing_is_overwritten(explain, root, tmp_path):
    assert explain("photo.png", "--ckpt", root / "run", "-o", "here")[0] == 0
    before = (tmp_path / "here/strip.png").read_bytes()
    code, _, err = explain("clip.mp4", "--ckpt", root / "run", "-o", "here")
    assert (code, "here: holds an explanation already" in err) == (2, True)
    assert (tmp_path / "here/strip.png").read_bytes() == before


@pytest.mark.parametrize(
    ("file", "args", "code", "message"),
    [
        ("clip.mp4", (), 2, "which model? give --ckpt RUN, or --model RECIPE"),
        ("clip.mp4", ("--ckpt", "run", "--model", "demo"), 2, "which model?"),
        ("clip.mp4", ("--ckpt", "none"), 3, "none: no such run"),
        ("clip.mp4", ("--model", "demo", "--blocks", "1,x"), 2, "numbers from 1, as in 1,6,12"),
        ("photo.png", ("--model", "demo", "--map", "am-flow"), 2, "an image has none"),
        ("photo.png", ("--model", "demo", "--frames", "3"), 2, "is an image"),
        ("none.mp4", ("--model", "demo"), 3, "no such file"),
        ("mine.yaml", ("--model", "demo"), 3, "mine.yaml: is neither an image nor a video"),
        (
            "clip.mp4",
            ("--model", "demo", "--head", "x"),
            2,
            "--head x: the recipe has no such head\nhint: its heads: shapes, textures, moving",
        ),
    ],
)
def test_a_fault_is_one_line(explain, tmp_path, file, args, code, message):
    found, out, err = explain(file, *args)
    assert (found, out) == (code, "")
    assert message in err
    assert list(tmp_path.iterdir()) == []


def test_a_run_takes_no_settings(explain, root):
    code, _, err = explain("clip.mp4", "--ckpt", find_checkpoint(root / "run"), "model.x=1")
    assert (code, "a run has its own" in err) == (2, True)
    code, _, err = explain("clip.mp4", "photo.png", "--ckpt", find_checkpoint(root / "run"))
    assert (code, "photo.png: is a second file" in err) == (2, True)
