"""`ivvit eval`: what it prints, what it leaves on the disk, and every way to go wrong."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tiny_runs

from ivvit_cli.commands.eval import Frames, evaluate
from ivvit_cli.errors import InputError, UsageError
from shards import open_dataset


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run over one image and one video dataset, and the folder that holds all of it."""
    root = tmp_path_factory.mktemp("eval")
    tiny_runs.write_pictures(root / "pictures", ["ant", "bee", "cat"], 2)
    tiny_runs.write_films(root / "films", ["run", "walk"], 2)
    shards = {
        "toys.v1": tiny_runs.make_shards("imagefolder", root / "pictures", root / "toys"),
        "films": tiny_runs.make_shards("videofolder", root / "films", root / "shards"),
    }
    tiny_runs.save_run(root / "run", shards, iteration=10, seed=1)
    tiny_runs.save_run(root / "run", shards, iteration=20, seed=2)
    return root


@pytest.fixture
def run(made, tmp_path):
    """A copy of the run, so that no test sees what another one wrote."""
    shutil.copytree(made / "run", tmp_path / "run", symlinks=True)
    return tmp_path / "run"


def document(capsys, *args, **options):
    evaluate(*map(str, args), **options, device="cpu", as_json=True)
    return json.loads(capsys.readouterr().out)


def test_the_document_and_the_files_agree_with_the_scores(run, capsys):
    result = document(capsys, run, views="2x3")
    assert list(result) == ["datasets", "mean"]
    assert list(result["datasets"]) == ["toys.v1", "films"]
    for name, entry in result["datasets"].items():
        assert list(entry) == [
            *("split", "views", "frames", "samples", "top1", "top5", "mean_class"),
            *("top1_interval", "top5_interval", "calibration_error"),
        ]
        low, high = entry["top1_interval"]
        assert low <= entry["top1"] <= high
        assert (entry["split"], entry["views"]) == ("val", "2x3")
        folder = run / "eval" / f"{name}-val-2x3"
        saved = np.load(folder / "scores.npz")
        hits = saved["scores"].argmax(1) == saved["labels"]
        assert entry["samples"] == len(hits)
        assert entry["top1"] == pytest.approx(100 * hits.mean())
        assert entry["top5"] == 100.0  # of at most three classes
        metrics = json.loads((folder / "metrics.json").read_text())
        assert {key: metrics[key] for key in ("samples", "top1", "top5", "mean_class")} == {
            key: entry[key] for key in ("samples", "top1", "top5", "mean_class")
        }
        assert metrics["protocol"]["checkpoint"] == "step-00000020"
        assert metrics["protocol"]["size"] == tiny_runs.SIZE
        assert f", {tiny_runs.SIZE} px" in metrics["protocol"]["words"]
    top1 = [entry["top1"] for entry in result["datasets"].values()]
    assert result["mean"]["top1"] == pytest.approx(sum(top1) / 2)


def test_another_order_of_frames_is_another_result(run, capsys):
    """Half the clips of `films` fade one way; the model is one that sees time."""
    normal = document(capsys, run, views="1x1")["datasets"]
    results = {
        order: document(capsys, run, views="1x1", frames=Frames(order))["datasets"]
        for order in ("reverse", "shuffle", "freeze")
    }
    saved = {}
    for order, datasets in results.items():
        assert datasets["films"]["frames"] == order
        assert datasets["toys.v1"]["top1"] == normal["toys.v1"]["top1"]  # images
        folder = run / "eval" / f"films-val-1x1-{order}"
        saved[order] = np.load(folder / "scores.npz")["scores"]
        assert json.loads((folder / "metrics.json").read_text())["protocol"]["frames"] == order
    plain = np.load(run / "eval" / "films-val-1x1" / "scores.npz")["scores"]
    assert not any(np.array_equal(plain, scores) for scores in saved.values())
    evaluate(str(run), frames=Frames.REVERSE, device="cpu")
    assert "32 px, frames reversed" in capsys.readouterr().out.splitlines()[2]


def test_small_frames_and_precision_are_told(made, tmp_path, capsys):
    shards = {"films": open_dataset(made / "shards")}
    asked = {"precision": "bf16", "min_short_side": 100}
    tiny_runs.save_run(tmp_path / "run", shards, **asked)
    evaluate(str(tmp_path / "run"), device="cpu")
    out, err = capsys.readouterr()
    assert "warning: films: the short side of 4 of 4 samples is below 100 pixels" in err
    assert out.splitlines()[-1].endswith("32 px, bf16")
    saved = np.load(tmp_path / "run" / "eval" / "films-val-1x1" / "scores.npz")["scores"]
    tiny_runs.save_run(tmp_path / "exact", shards, precision="fp32")
    evaluate(str(tmp_path / "exact"), device="cpu")
    out, err = capsys.readouterr()
    assert "warning" not in err
    exact = np.load(tmp_path / "exact" / "eval" / "films-val-1x1" / "scores.npz")["scores"]
    assert not np.array_equal(saved, exact)
    assert saved == pytest.approx(exact, abs=0.1)


def test_the_protocol_stands_beside_every_figure(run, capsys):
    evaluate(str(run), views="2x3", device="cpu")
    out, err = capsys.readouterr()
    lines = [" ".join(line.split()) for line in out.splitlines()]
    toys, films, mean = (
        next(x for x in lines if x.startswith(n)) for n in ("toys", "film", "mean")
    )
    assert toys.endswith("6 up to 3 distinct crops, 32 px")
    assert films.endswith("4 2x3 views, 4 frames over the whole video, 32 px")
    assert mean.count(".") == 2
    assert f"next: ivvit predict FILE --ckpt {run}" in err


def test_checkpoints_are_chosen_by_name(run, capsys):
    def scores(reference):
        document(capsys, reference)
        return np.load(run / "eval" / "films-val-1x1" / "scores.npz")["scores"]

    last = scores(run)
    first = scores(f"{run}@step-10")
    assert not np.array_equal(first, last)
    assert np.array_equal(scores(f"{run}@best-toys.v1"), last)
    assert np.array_equal(scores(run / "checkpoints" / "step-00000010"), first)


def test_a_checkpoint_outside_of_a_run_keeps_its_results(run, tmp_path, capsys):
    alone = tmp_path / "alone"
    shutil.copytree(run / "checkpoints" / "step-00000010", alone)
    document(capsys, alone)
    assert (alone / "eval" / "films-val-1x1" / "metrics.json").is_file()


def test_one_dataset_can_be_asked_for(run, capsys):
    result = document(capsys, run, dataset=["films"])
    assert list(result["datasets"]) == ["films"]
    assert result["mean"]["top1"] == result["datasets"]["films"]["top1"]


def test_shards_that_have_moved_are_named(made, run, tmp_path, capsys):
    before = document(capsys, run)
    shutil.move(made / "toys", tmp_path / "elsewhere")
    try:
        with pytest.raises(InputError, match=r"toys\.v1: there are no shards at .*toys") as caught:
            evaluate(str(run), device="cpu")
        assert caught.value.hint.endswith("--data toys.v1=DIR")
        moved = [f"toys.v1={tmp_path / 'elsewhere'}"]
        assert document(capsys, run, data=moved) == before
    finally:
        shutil.move(tmp_path / "elsewhere", made / "toys")


def test_relative_shards_are_looked_up_under_ivvit_data(made, run, capsys, monkeypatch):
    monkeypatch.setenv("IVVIT_DATA", str(made))
    moved = ["toys.v1=data/toys", "films=data/shards"]
    assert document(capsys, run, data=moved) == document(capsys, run)


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"dataset": ["nosuch"]}, "--dataset nosuch: the checkpoint has no such head"),
        ({"data": ["nosuch=x"]}, "--data nosuch: the checkpoint has no such head"),
        ({"data": ["films"]}, "--data films: is not of the form NAME=DIR"),
        ({"views": "ten"}, "'ten'"),
        ({"device": "gpu"}, "--device gpu"),
    ],
)
def test_usage_errors(run, options, fault):
    with pytest.raises(UsageError, match=fault):
        evaluate(str(run), **options)


def test_a_head_that_is_nearly_there(run):
    with pytest.raises(UsageError) as caught:
        evaluate(str(run), dataset=["film"])
    assert caught.value.hint == "did you mean films? its heads: toys.v1, films"


def test_a_split_that_is_not_there(run):
    with pytest.raises(InputError, match="has no split 'test'") as caught:
        evaluate(str(run), split="test", device="cpu")
    assert "val" in caught.value.hint


def test_shards_of_other_classes_are_refused_before_anything_runs(made, run, tmp_path):
    tiny_runs.write_films(tmp_path / "films", ["run", "swim"], 1)
    other = tiny_runs.make_shards("videofolder", tmp_path / "films", tmp_path / "other").folder
    with pytest.raises(InputError, match=r"films: label 1 is 'walk' in the checkpoint.*'swim'"):
        evaluate(str(run), data=[f"films={other}"], device="cpu")
    with pytest.raises(
        InputError, match=r"films: the checkpoint's head is for videos, but .*images"
    ):
        evaluate(str(run), data=[f"films={made / 'toys'}"], device="cpu")
    assert not (run / "eval").exists()


def test_a_run_without_a_validation_split_says_what_to_choose(made, run):
    shards = {"films": open_dataset(made / "shards")}
    tiny_runs.save_run(run.parent / "unvalidated", shards, eval_split=None)
    with pytest.raises(InputError, match="films: the run had no split to validate on") as caught:
        evaluate(str(run.parent / "unvalidated"), device="cpu")
    assert caught.value.hint == "choose one: --dataset films --split val"


def test_a_dataset_without_a_validation_split_is_left_out(made, tmp_path, capsys):
    tiny_runs.write_pictures(tmp_path / "raw", ["ant", "bee"], 1, split="train")
    shards = {
        "photos": tiny_runs.make_shards("imagefolder", tmp_path / "raw", tmp_path / "photos"),
        "films": open_dataset(made / "shards"),
    }
    tiny_runs.save_run(tmp_path / "run", shards)
    evaluate(str(tmp_path / "run"), device="cpu", as_json=True)
    out, err = capsys.readouterr()
    assert list(json.loads(out)["datasets"]) == ["films"]
    assert "photos: no validation split, left out" in err
    asked = document(capsys, tmp_path / "run", dataset=["photos"], split="train")
    assert asked["datasets"]["photos"]["split"] == "train"
    with pytest.raises(InputError) as caught:
        evaluate(str(tmp_path / "run"), dataset=["photos"], device="cpu")
    assert caught.value.hint == "choose one: --dataset photos --split train"


def test_nan_scores_are_reported(made, run, capsys):
    shards = {"films": open_dataset(made / "shards")}
    tiny_runs.save_run(run.parent / "diverged", shards, diverged=True)
    evaluate(str(run.parent / "diverged"), device="cpu", as_json=True)
    out, err = capsys.readouterr()
    assert json.loads(out)["datasets"]["films"]["top1"] == 0.0
    assert "warning: films: 4 of 4 samples got NaN scores" in err


def test_figures_are_printed_even_if_their_files_cannot_be_written(run, capsys):
    (run / "eval").touch()  # a file where the folder would be
    evaluate(str(run), device="cpu", as_json=True)
    out, err = capsys.readouterr()
    assert len(json.loads(out)["datasets"]) == 2
    assert err.count("the details could not be saved") == 2


def test_a_run_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match="norun: no such run"):
        evaluate(str(tmp_path / "norun"))


def test_the_command_line(ivvit, run):
    done = ivvit("eval", run, "--json", "--device", "cpu", "--batch", "3")
    assert done.code == 0, done.stderr
    assert done.json["datasets"]["films"]["samples"] == 4


def test_two_processes_share_the_samples_and_one_speaks(run, tmp_path):
    """As torchrun starts them; the scores are those of one process."""
    alone = subprocess.run(
        [sys.executable, "-m", "ivvit_cli", "eval", str(run), "--json", "--device", "cpu"],
        capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    before = np.load(run / "eval/films-val-1x1/scores.npz")
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    both = subprocess.run(
        [sys.executable, *launcher, "-m", "ivvit_cli", "eval", str(run), "--json"],
        capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert both.returncode == 0, both.stderr
    assert both.stderr.count("films val: details in") == 1
    one, two = (json.loads(done.stdout)["datasets"] for done in (alone, both))
    assert {name: entry["top1"] for name, entry in one.items()} == {
        name: entry["top1"] for name, entry in two.items()
    }
    after = np.load(run / "eval/films-val-1x1/scores.npz")
    assert after["keys"].tolist() == before["keys"].tolist()
    assert after["scores"] == pytest.approx(before["scores"], abs=1e-5)
