"""The commands on shards at a URL: what works, and what they say when it does not."""

import shutil

import pytest
import tiny_runs
from web import served

from shards.manifest import read_dataset_info

RECIPE = """
model: {{backbone: vit_tiny_patch16_224, backbone_args: {{img_size: 32, depth: 1}}}}
data:
  pictures: {{shards: "{url}/pictures", batch: 4, split: val}}
schedule: {{iterations: 2}}
optim: {{lr: 1e-3}}
loader: {{threads: 2, cache: {{dir: kept, limit: {limit}}}}}
"""


@pytest.fixture
def web(tmp_path):
    pytest.importorskip("aiohttp", reason="fsspec's https:// needs aiohttp")
    tiny_runs.write_pictures(tmp_path / "pictures", ["ant", "bee", "cat"], 3)
    tiny_runs.make_shards("imagefolder", tmp_path / "pictures", tmp_path / "shards" / "pictures")
    shutil.rmtree(tmp_path / "pictures")
    with served(tmp_path / "shards") as server:
        yield server


def test_check_train_evaluate_and_show(web, tmp_path, ivvit_here, monkeypatch):
    monkeypatch.setenv("IVVIT_CACHE", str(tmp_path / "kept"))
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE.format(url=web.url, limit="1GB"))
    assert not web.requests
    done = ivvit_here("recipe", "check", recipe, "--json")
    assert (done.code, done.json["datasets"]["pictures"]["state"]) == (0, "good")
    done = ivvit_here("train", "--recipe", recipe, "--run", "run", "--json")
    assert done.code == 0
    trained = done.json["metrics"]["pictures"]
    done = ivvit_here("eval", "run", "--json")
    assert done.code == 0
    assert done.json["datasets"]["pictures"]["top1"] == trained["top1"]
    here = tmp_path / "shards" / "pictures"
    done = ivvit_here("eval", "run", "--data", f"pictures=file://{here}", "--json")
    assert done.json["datasets"]["pictures"]["top1"] == trained["top1"]
    done = ivvit_here("data", "show", f"{web.url}/pictures", "--json")
    assert (done.code, done.json["dataset"]) == (0, "pictures")
    assert (tmp_path / "pictures-contact-sheet.png").is_file()
    kept = {path.name for path in (tmp_path / "kept").glob("*/*")} - {"use"}
    splits = read_dataset_info(here).splits.values()
    assert {split.index for split in splits} <= kept


def test_ls_finds_datasets_at_and_in_a_url(tmp_path, ivvit_here, web):
    top = tmp_path / "shards"
    shutil.copytree(top / "pictures", top / "second")
    (top / "other").mkdir()
    found = ivvit_here("data", "ls", f"file://{top}", "--json").json
    assert [each["folder"] for each in found] == [
        f"file://{top}/{n}" for n in ("pictures", "second")
    ]
    found = ivvit_here("data", "ls", f"{web.url}/pictures", "--json").json
    assert [each["folder"] for each in found] == [f"{web.url}/pictures"]
    assert ivvit_here("data", "ls", f"file://{top}/nowhere").code == 3


def test_a_cache_that_is_too_small_is_said_before_training(web, tmp_path, ivvit_here):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE.format(url=web.url, limit="10KB"))
    done = ivvit_here("train", "--recipe", recipe, "--run", "run")
    assert done.code == 0
    assert "the rest is read over the network in every epoch" in done.stderr
    assert not list((tmp_path / "kept").glob("*/*.tar"))


def test_faults_are_one_line_with_the_code_of_their_kind(web, tmp_path, ivvit_here):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE.format(url=web.url, limit="1GB"))
    web.status["*"] = 403
    for command in (("recipe", "check", recipe), ("train", "--recipe", recipe)):
        done = ivvit_here(*command)
        assert done.code == 4
        assert f"error: {web.url}/pictures/dataset.json: access denied" in done.stderr
    done = ivvit_here("data", "verify", f"{web.url}/pictures")
    assert done.code == 2
    assert "verify reads folders of this machine" in done.stderr


@pytest.mark.parametrize("limit", ["lots", "10", "-1GB"])
def test_a_limit_that_is_none(tmp_path, ivvit_here, limit):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE.format(url="memory://x", limit=limit))
    done = ivvit_here("recipe", "check", recipe)
    assert done.code == 2
    assert f"{recipe}:7: loader.cache.limit" in done.stderr
