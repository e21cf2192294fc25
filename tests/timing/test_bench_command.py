"""`ivvit bench`: what it measures agrees with itself, and its faults are one line."""

import math

import pytest
from tiny_runs import make_shards, write_films, write_pictures

RECIPE = """\
model:
  backbone: vit_tiny_patch16_224
  backbone_args: {{img_size: 32, patch_size: 8, embed_dim: 32, depth: 2, num_heads: 2}}
  temporal: {{kind: token_shift}}
data:
  pictures: {{shards: {root}/pictures, batch: 6}}
  films:
    {{shards: {root}/films, batch: 4, clip: {{sample: uniform, frames: 4}}, min_short_side: 8}}
schedule: {{kind: sequential, iterations: 8}}
optim: {{lr: 1e-3}}
loader: {{threads: 2}}
"""
PHASES = ["wait", "transfer", "forward", "backward", "optimiser"]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    """Return a recipe's file beside its shards."""
    root = tmp_path_factory.mktemp("bench")
    write_pictures(root / "raw-pictures", ["ant", "bee", "cat"], 6, split="train")
    write_films(root / "raw-films", ["run", "sit"], 6, split="train")
    make_shards("imagefolder", root / "raw-pictures", root / "pictures")
    make_shards("videofolder", root / "raw-films", root / "films")
    path = root / "tiny.yaml"
    path.write_text(RECIPE.format(root=root))
    return path


@pytest.fixture
def bench(ivvit_here, recipe, tmp_path):
    """Run `ivvit bench` for the shortest time, see that it wrote nothing, return its document."""

    def run(kind, *overrides):
        done = ivvit_here(
            "bench", kind, "--recipe", recipe, *overrides, "--seconds", 1, "--device", "cpu",
            "--json",
        )  # fmt: skip
        assert done.code == 0, done.stderr
        assert not list(tmp_path.iterdir())
        return done.json

    return run


def is_spread(found):
    return 0 < found["least"] <= found["median"] <= found["most"] < math.inf


def test_the_loader_is_timed_for_each_dataset_and_for_all(bench):
    found = bench("loader")
    pictures, films = found["datasets"]["pictures"], found["datasets"]["films"]
    assert (pictures["kind"], pictures["codec"], pictures["frames_per_sample"]) == (
        *("image", "png"),
        1.0,
    )
    assert (films["kind"], films["codec"], films["frames_per_sample"]) == ("video", "jpg", 4.0)
    assert 36 <= pictures["short_side"] <= 44
    assert films["short_side"] == 48
    assert is_spread(pictures["images_per_second"])
    assert is_spread(films["clips_per_second"])
    for row in (pictures, films, *found["by_threads"].values()):
        assert is_spread(row["bytes_per_second"])
        assert is_spread(row["share"])
    assert found["threads"] == 2
    assert found["schedule"] == found["by_threads"]["2"]
    assert "1" in found["by_threads"]
    assert found["advice"]


def test_a_single_dataset_is_all_there_is(bench):
    found = bench("loader", "data.pictures=null", "loader.threads=1")
    assert found["datasets"]["films"]["share"] == found["schedule"]["share"]
    assert found["schedule"]["images_per_second"]["most"] == 0


def test_the_model_is_timed_without_shards(bench):
    found = bench("model", "data.films.shards=nowhere", "--batch", "3")
    assert [row["dataset"] for row in found["views"]] == ["pictures", "films"]
    assert [row["shape"] for row in found["views"]] == [[3, 32, 32], [4, 3, 32, 32]]
    for row in found["views"]:
        assert (row["mode"], row["batch"]) == ("eager", 3)
        assert is_spread(row["forward_seconds"])
        assert is_spread(row["forward_backward_seconds"])
        performed = 2e-12 * row["multiply_adds"] / row["forward_seconds"]["median"]
        assert row["forward_tflops"] == pytest.approx(performed)
        assert row["forward_backward_peak_bytes"] is None
    pictures, films = (row["multiply_adds"] for row in found["views"])
    assert films == pytest.approx(4 * pictures, rel=0.1)


def test_what_a_frozen_backbone_does_is_not_counted_backwards(bench):
    found = bench("model", "model.freeze=[backbone]")
    assert 0 < found["trained"] < 0.5
    assert {row["forward_backward_tflops"] for row in found["views"]} == {None}


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_shares_of_a_step_are_the_whole_of_it(bench, accumulate):
    found = bench("step", f"train.accumulate={accumulate}")
    assert list(found["phases"]) == PHASES
    assert sum(part["share"] for part in found["phases"].values()) == pytest.approx(1)
    assert all(part["seconds"]["least"] > 0 for part in found["phases"].values())
    assert found["micro_batches"] == accumulate
    pictures, films = found["groups"]
    assert (pictures["datasets"], films["datasets"]) == (["pictures"], ["films"])
    assert (pictures["samples"], films["samples"]) == (6, 4)
    assert found["updates"]["total"] == pictures["updates"] + films["updates"] == 16
    # As many of one dataset as of the other, since whole iterations are measured.
    mean = (pictures["mean_seconds"] + films["mean_seconds"]) / 2
    assert mean * found["updates"]["measured"] == pytest.approx(found["seconds"])
    assert found["hours"] == pytest.approx(16 * mean / 3600)
    assert found["waits"] == (found["phases"]["wait"]["share"] > 0.2)


def test_a_mixture_has_one_kind_of_update(bench):
    found = bench("step", "schedule={kind: weighted, batch: 6, iterations: 30}")
    [group] = found["groups"]
    assert group["datasets"] == ["pictures", "films"]
    assert group["samples"] == pytest.approx(6)
    assert group["updates"] == 30
    assert group["mean_seconds"] * found["updates"]["measured"] == pytest.approx(found["seconds"])


def test_every_dataset_of_a_late_schedule_is_rehearsed(bench):
    found = bench("step", "schedule={kind: task_by_task, sampling: size, iterations: 3000}")
    counts = {group["datasets"][0]: group["updates"] for group in found["groups"]}
    assert counts == {"pictures": 1800, "films": 1200}


def test_people_read_tables(ivvit_here, recipe):
    words = {"loader": "of the bound", "model": "TFLOP/s", "step": "effective batch"}
    for kind, word in words.items():
        done = ivvit_here("bench", kind, "--recipe", recipe, "--seconds", "1", "--device", "cpu")
        assert done.code == 0, done.stderr
        assert word in done.stdout
        assert done.stderr.startswith("next: ivvit bench ")


@pytest.mark.parametrize("kind", ["loader", "step"])
def test_a_dataset_that_is_not_there_is_one_line(ivvit_here, recipe, kind):
    done = ivvit_here("bench", kind, "--recipe", recipe, "data.films.shards=nowhere")
    assert (done.code, done.stdout) == (3, "")
    error, hint = done.stderr.splitlines()
    assert error.startswith("error: there are no finished shards of data.films at ")
    assert hint.startswith("hint: make them: ivvit shard ")


def test_faults_of_the_command_line_are_one_line(ivvit_here, recipe, monkeypatch):
    for words in ((), ("--recipe", "nothing"), ("--recipe", recipe, "word")):
        for kind in ("loader", "model", "step"):
            done = ivvit_here("bench", kind, *words)
            assert (done.code, done.stdout) == (2, "")
            assert done.stderr.startswith("error: ")
    monkeypatch.setenv("WORLD_SIZE", "2")
    done = ivvit_here("bench", "step", "--recipe", recipe)
    assert done.code == 2
    assert done.stderr == "error: ivvit bench measures one process\nhint: leave torchrun out\n"
