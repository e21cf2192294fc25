"""`ivvit train` from outside: exit codes, the run folder, and what it says."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from typing import NamedTuple

import pytest
import torch
from tiny_runs import make_shards, write_pictures
from workers import plain_environment

from ivvit_cli import app, runs

pytest_plugins = ["training_fixtures"]

IVVIT = (sys.executable, "-m", "ivvit_cli", "train")


def train_in_background(cwd, *args, launcher=IVVIT):
    """Start a training that another process may end; its stderr is a pipe."""
    return subprocess.Popen(
        [*launcher, *map(str, args)],
        cwd=cwd,
        env=plain_environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def ivvit(capsys, monkeypatch, tmp_path):
    """Run a command line in this process, in `tmp_path`; return code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)

    def run(*args):
        capsys.readouterr()
        code = app.run([str(arg) for arg in args])
        return Result(code, *capsys.readouterr())

    yield run
    torch.set_num_threads(threads)


class Result(NamedTuple):
    code: int
    stdout: str
    stderr: str

    @property
    def json(self):
        return json.loads(self.stdout)


def wait_for_checkpoint(run, process):
    for _ in range(1200):
        if runs.list_checkpoints(run):
            return
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    raise AssertionError("no checkpoint in a minute")


@pytest.fixture(scope="module")
def finished(recipe, tmp_path_factory):
    """Return the folder of a short finished run, and what `--json` printed."""
    folder = tmp_path_factory.mktemp("finished")
    done = subprocess.run(
        [*IVVIT, "--recipe", recipe, "--run", "run", "--json", "optim.lr=2e-3"],
        cwd=folder,
        env=plain_environment() | {"SECRET_TOKEN": "hush"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return folder / "run", json.loads(done.stdout)


def test_run_folder(finished):
    run, document = finished
    names = {path.name for path in run.iterdir()}
    assert names == {"recipe.yaml", "environment.json", "metrics.jsonl", "log.txt", "checkpoints"}
    last = run / "checkpoints" / "last"
    assert last.readlink().name == "step-00000008"
    assert {p.name for p in last.iterdir()} == {"model.safetensors", "state.pt", "meta.json"}
    assert document["run"] == "run"
    assert document["iteration"] == 8
    assert set(document["metrics"]) == {"pictures", "films"}
    assert "hush" not in run.joinpath("environment.json").read_text()
    assert "lr: 0.002" in run.joinpath("recipe.yaml").read_text()


def test_metrics_lines(finished):
    metrics = finished[0].joinpath("metrics.jsonl").read_text().splitlines()
    lines = [json.loads(line) for line in metrics]
    train = [(line["iteration"], line["dataset"]) for line in lines if line["event"] == "train"]
    assert train == [(i, name) for i in (3, 6, 8) for name in ("pictures", "films")]
    evaluations = [line["iteration"] for line in lines if line["event"] == "eval"]
    assert evaluations == [4, 4, 8, 8]
    assert all(0 <= line["top1"] <= 100 for line in lines)
    assert all(line["loss"] > 0 and 0 <= line["data_wait"] <= 1 for line in lines if "loss" in line)


def test_checkpoint_alone_gives_the_model(finished):
    model, meta = runs.load_model(runs.find_checkpoint(finished[0]), "cpu")
    assert not model.training
    assert model(torch.zeros(1, 4, 3, 32, 32), "films").shape == (1, 2)
    assert meta.heads["pictures"].classes == ("ant", "bee", "cat")
    assert meta.heads["films"].clip["frames"] == 4
    assert meta.heads["films"].eval_split == "val"


def test_existing_run_is_not_overwritten(ivvit, recipe, finished):
    result = ivvit("train", "--recipe", recipe, "--run", finished[0])
    assert result.code == 2
    assert "there is a run already" in result.stderr
    assert "--resume" in result.stderr


def test_finished_run_resumes_to_nothing(ivvit, finished):
    before = sorted(finished[0].joinpath("checkpoints").iterdir())
    result = ivvit("train", "--resume", finished[0], "--json")
    assert result.code == 0
    assert json.loads(result.stdout)["iteration"] == 8
    assert "iteration 8 was the last; for more, raise schedule.iterations" in result.stderr
    assert sorted(finished[0].joinpath("checkpoints").iterdir()) == before


def test_a_finished_run_is_not_advised_what_is_refused(ivvit, recipe):
    turns = ("schedule.kind=task_by_task", "schedule.iterations=2", "eval.every=null")
    assert ivvit("train", "--recipe", recipe, "--run", "run", *turns).code == 0
    result = ivvit("train", "--resume", "run")
    assert result.code == 0
    assert "iteration 2 was the last; the datasets have shared them: more are a new run\n" in (
        result.stderr
    )
    assert ivvit("train", "--resume", "run", "schedule.iterations=3").code == 2


@pytest.mark.parametrize(
    "change",
    [
        "data.films.batch=3",
        "model.temporal.kind=none",
        "optim.name=sgd",
        "optim.layer_decay=0.7",
        "schedule.sampling=equal",
    ],
)
def test_change_of_model_or_order_is_refused(ivvit, finished, change):
    result = ivvit("train", "--resume", finished[0], change)
    assert result.code == 2
    assert change.split("=")[0] in result.stderr


def test_dry_run(ivvit, recipe, tmp_path):
    result = ivvit("train", "--recipe", recipe, "--dry-run", "--json")
    assert result.code == 0
    plan = json.loads(result.stdout)
    assert plan["datasets"]["pictures"]["samples"] == 18
    assert plan["datasets"]["films"]["steps_per_epoch"] == 3
    assert (plan["iterations"], plan["updates"]) == (8, 16)
    assert not tmp_path.joinpath("runs").exists()


def test_dry_run_names_the_weights(ivvit, recipe, finished):
    dry = ("train", "--recipe", recipe, "--dry-run", "--json")
    missing = ivvit(*dry, "model.weights=nowhere.pth")
    assert missing.code == 4
    assert "nowhere.pth: no such file" in missing.stderr
    weights = finished[0] / "checkpoints" / "last" / "model.safetensors"
    states = [
        ivvit(*dry, f"model.weights={source}").json["weights"]["state"]
        for source in (weights, "timm:vit_tiny_patch16_224", "null")
    ]
    assert "encoder tensors loaded" in states[0]
    assert states[1:] == ["timm:vit_tiny_patch16_224: fetched when training starts", "random"]
    assert str(weights) in ivvit(*dry[:-1], f"model.weights={weights}").stdout


def test_figures_stand_beside_their_protocol(ivvit, finished):
    result = ivvit("train", "--resume", finished[0])
    films = next(line for line in result.stdout.splitlines() if line.startswith("films"))
    protocol = "1x1 views, 4 frames over the whole video, 32 px"
    assert " val " in films
    assert films.endswith(f"4  {protocol}")
    score = finished[1]["metrics"]["films"]
    assert (score["split"], score["samples"], score["protocol"]) == ("val", 4, protocol)
    log = finished[0].joinpath("log.txt").read_text()
    assert f"({protocol}, 4 samples)" in log


def test_checkpoint_keeps_how_to_evaluate(finished):
    meta = runs.read_meta(runs.find_checkpoint(finished[0]))
    assert meta.eval.precision == "auto"
    assert meta.heads["films"].min_short_side == 8
    assert meta.heads["pictures"].min_short_side is None


def test_missing_shards(ivvit, recipe, tmp_path):
    gone = ("data.films.shards=data/nowhere", "data.pictures.shards=gone")
    result = ivvit("train", "--recipe", recipe, *gone)
    assert result.code == 3
    places = f"data.pictures at {tmp_path}/gone, data.films at {tmp_path}/data/nowhere"
    assert places in result.stderr
    assert result.stderr.splitlines()[-1] == (
        "hint: make them: ivvit shard imagefolder SRC -o gone; "
        "or say where they are: data.pictures.shards=DIR"
    )


def test_missing_shards_of_a_known_layout(ivvit, recipe):
    moved = "data.pictures.shards=data/x"
    hint = ivvit("train", "--recipe", recipe, moved).stderr.splitlines()[-1]
    assert hint.endswith("data.pictures.shards=DIR, or IVVIT_DATA=DIR in place of data/")
    known = "data.ucf101={shards: x, batch: 2, clip: {sample: uniform, frames: 4}}"
    hint = ivvit("train", "--recipe", recipe, known).stderr.splitlines()[-1]
    assert hint.startswith("hint: make them: ivvit shard ucf101 SRC -o x;")


def test_small_videos_are_mentioned(ivvit, recipe):
    result = ivvit("train", "--recipe", recipe, "--dry-run", "data.films.min_short_side=100")
    assert result.code == 0
    assert "warning: films: the short side of 12 of 12 samples is below 100" in result.stderr


def test_a_dataset_without_validation_is_mentioned(ivvit, recipe, tmp_path):
    write_pictures(tmp_path / "raw", ["ant", "bee"], 3, split="train")
    make_shards("imagefolder", tmp_path / "raw", tmp_path / "photos")
    photos = ("data.pictures.shards=photos", "schedule.iterations=1")
    result = ivvit("train", "--recipe", recipe, *photos)
    assert result.code == 0
    assert "pictures: no validation split\n" in result.stderr
    assert "films: no" not in result.stderr


@pytest.mark.parametrize("missing", ["clip", "epochs"])
def test_values_that_do_not_fit(ivvit, recipe, missing):
    change = {
        "clip": ["data.films.clip=null"],
        "epochs": ["schedule.iterations=null", "schedule.epochs=2"],
    }[missing]
    result = ivvit("train", "--recipe", recipe, *change)
    assert result.code == 2
    assert missing in result.stderr
    assert len(result.stderr.splitlines()) <= 2


def test_diverging_run_stops_and_names_samples(ivvit, recipe, tmp_path):
    wild = ("optim.lr=1e30", "optim.warmup=0", "optim.clip_norm=null", "train.log_every=1")
    result = ivvit("train", "--recipe", recipe, "--run", "run", *wild)
    assert result.code == 1
    assert "had a loss that is not finite" in result.stderr
    assert "samples train_" in result.stderr
    assert "Traceback" not in result.stderr


def test_kill_and_resume(ivvit, recipe, tmp_path):
    short = ("schedule.iterations=40", "eval.every=null", "checkpoint.every=5")
    process = train_in_background(tmp_path, "--recipe", recipe, "--run", "killed", *short)
    wait_for_checkpoint(tmp_path / "killed", process)
    process.kill()
    process.communicate()
    assert ivvit("train", "--resume", "killed").code == 0
    assert ivvit("train", "--recipe", recipe, "--run", "whole", *short).code == 0
    killed, whole = (runs.find_checkpoint(tmp_path / name) for name in ("killed", "whole"))
    assert runs.read_meta(killed).iteration == 40
    assert runs.digest_file(killed / "model.safetensors") == runs.digest_file(
        whole / "model.safetensors"
    )


def test_a_bad_value_leaves_no_run_behind(ivvit, recipe, tmp_path):
    result = ivvit("train", "--recipe", recipe, "--run", "run", "checkpoint.every=1ep")
    assert result.code == 2
    assert "checkpoint.every=1ep" in result.stderr
    assert not tmp_path.joinpath("run").exists()


def test_a_run_that_never_saved_resumes_from_the_start(ivvit, recipe, tmp_path):
    short = ("schedule.iterations=2", "eval.every=null")
    assert ivvit("train", "--recipe", recipe, "--run", "whole", *short).code == 0
    killed = tmp_path / "killed"
    killed.mkdir()
    killed.joinpath("recipe.yaml").write_bytes(tmp_path.joinpath("whole/recipe.yaml").read_bytes())
    killed.joinpath("metrics.jsonl").write_text('{"event": "train", "iteration": 1}\n')
    assert "--resume killed would write one" in ivvit("eval", "killed").stderr
    assert ivvit("train", "--resume", "killed").code == 0
    weights = [
        runs.digest_file(runs.find_checkpoint(tmp_path / name) / runs.WEIGHTS_FILE)
        for name in ("killed", "whole")
    ]
    assert weights[0] == weights[1]
    assert '"iteration": 1' not in killed.joinpath("metrics.jsonl").read_text()


@pytest.mark.parametrize("file", ["metrics.jsonl", "log.txt"])
def test_a_full_disk_for_logs_costs_one_warning(ivvit, recipe, tmp_path, file):
    run = tmp_path / "run"
    run.mkdir()
    run.joinpath(file).symlink_to("/dev/full")
    result = ivvit("train", "--recipe", recipe, "--run", run, "train.log_every=1")
    assert result.code == 0
    assert result.stderr.count("warning: ") == 1
    assert f"{file}: cannot be written: No space left on device" in result.stderr
    assert runs.read_meta(runs.find_checkpoint(run)).iteration == 8


def test_a_run_may_have_any_name(ivvit, recipe):
    name = "lr=2 and a half"
    assert ivvit("train", "--recipe", recipe, "--run", name, "schedule.iterations=2").code == 0
    refused = ivvit("train", "--recipe", recipe, "--run", name)
    assert refused.stderr.splitlines()[-1] == f"hint: ivvit train --resume '{name}'"
    result = ivvit("train", "--resume", name, "schedule.iterations=3", "--json")
    assert json.loads(result.stdout)["iteration"] == 3


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGUSR1, 138)]
)
def test_signals_end_with_a_line_and_a_code(recipe, tmp_path, number, code):
    process = train_in_background(
        tmp_path, "--recipe", recipe, "--run", "run", "schedule.iterations=1000000"
    )
    wait_for_checkpoint(tmp_path / "run", process)
    process.send_signal(number)
    stderr = process.communicate(timeout=120)[1]
    assert process.returncode == code
    assert f"error: {number.name}: stopped after iteration" in stderr
    words = f"{number.name}: finishing the iteration and saving; a second one loses what came since"
    assert stderr.count(words) == 1
    log = tmp_path.joinpath("run", "log.txt").read_text()
    saved = int(re.search(f"{words} iteration (\\d+)\n", log)[1])
    assert saved % 2 == 0  # as the recipe asks
    assert stderr.splitlines()[-1] == "hint: ivvit train --resume run"


def torchrun():
    launcher = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2")
    return (*launcher, "--master-port", str(29500 + os.getpid() % 1000), *IVVIT[1:])


def test_torchrun(recipe, tmp_path):
    """Two processes: one prints, both end, and the run is whole."""
    process = train_in_background(
        tmp_path, "--recipe", recipe, "--run-dir", "run", launcher=torchrun()
    )
    stderr = process.communicate(timeout=120)[1]
    assert process.returncode == 0, stderr
    assert stderr.count("iteration 8/8") == 1
    assert stderr.count("next: ") == 1
    assert runs.read_meta(runs.find_checkpoint(tmp_path / "run")).iteration == 8


def test_torchrun_passes_a_signal_on(recipe, tmp_path):
    """The processes save and say so; torchrun itself knows no exit code but 1."""
    long = ("--recipe", recipe, "--run-dir", "run", "schedule.iterations=1000000")
    process = train_in_background(tmp_path, *long, launcher=torchrun())
    wait_for_checkpoint(tmp_path / "run", process)
    process.send_signal(signal.SIGTERM)
    stderr = process.communicate(timeout=120)[1]
    assert process.returncode == 1
    assert stderr.count("error: SIGTERM: stopped after iteration") == 1
    saved = runs.read_meta(runs.find_checkpoint(tmp_path / "run")).iteration
    assert f"stopped after iteration {saved} of" in stderr
    assert "hint: ivvit train --resume run" in stderr
