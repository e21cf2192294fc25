"""What `--dry-run` says that a run will take, and with which accumulation it fits."""

import json

import pytest

from ivvit_cli.errors import UsageError
from ivvit_cli.training.machine import find_machine, parse_memory, peak_tflops

pytest_plugins = ["training_fixtures"]

MIB = 2**20


def plan(ivvit_here, recipe, *args, code=0):
    result = ivvit_here("train", "--recipe", recipe, "--dry-run", "--json", *args)
    assert result.code == code, result.stderr
    return json.loads(result.stdout)


def layouts(found):
    return {
        (each["parallel"], each["activation_checkpointing"]): each
        for each in found["memory"]["layouts"]
    }


def test_the_accumulation_is_the_least_that_fits(ivvit_here, recipe):
    films = ("data.pictures=null", "data.films.batch=24", "model.backbone_args.depth=6")
    found = plan(ivvit_here, recipe, *films, "--gpus", "2", "--memory", "0.008GB")
    assert found["memory"]["effective_batch"] == {"films": {"update": 24, "micro_batch": 12}}
    by_layout = layouts(found)
    assert set(by_layout) == {(p, light) for p in ("ddp", "fsdp") for light in (False, True)}
    fits = by_layout["ddp", False]["fits"]
    limit = 0.9 * 8_000_000
    assert fits["total"] <= limit < by_layout["ddp", False]["bytes"]["total"]
    assert fits["micro_batch"]["films"] == -(-12 // fits["accumulate"])
    fewer = f"train.accumulate={fits['accumulate'] - 1}"
    less = layouts(plan(ivvit_here, recipe, *films, fewer, "--gpus", "2"))
    assert less["ddp", False]["bytes"]["total"] > limit
    assert less["ddp", False]["fits"] is None
    assert found["memory"]["advice"] == [f"train.accumulate={fits['accumulate']}"]
    light = by_layout["ddp", True]
    assert light["bytes"]["activations"] < by_layout["ddp", False]["bytes"]["activations"]
    assert light["fits"]["accumulate"] < fits["accumulate"]


def test_other_settings_are_advised_where_the_own_cannot_fit(ivvit_here, recipe):
    tight = plan(ivvit_here, recipe, "--memory", "0.001GB", "train.precision=fp32")
    assert "train.activation_checkpointing=true" in tight["memory"]["advice"]
    assert plan(ivvit_here, recipe, "--memory", "0.00001GB")["memory"]["advice"] is None
    assert plan(ivvit_here, recipe, "--memory", "80GiB")["memory"]["advice"] == []


def test_datasets_of_one_update_add_up(ivvit_here, recipe):
    alone, together = (
        layouts(plan(ivvit_here, recipe, f"schedule.kind={kind}"))["ddp", False]["bytes"]
        for kind in ("sequential", "accumulated")
    )
    assert alone["activations"] < together["activations"] < 2 * alone["activations"]


def test_the_time_is_flops_over_speed(ivvit_here, recipe):
    time = plan(ivvit_here, recipe, "--tflops", "2", "--gpus", "4")["time"]
    each = time["flops_per_sample"]
    assert time["flops"] == 8 * (6 * each["pictures"] + 4 * each["films"])
    assert time["seconds"] == pytest.approx(time["flops"] / 8e12)
    assert time["tflops_source"] == "as given"


def test_the_speed_is_that_of_the_precision(ivvit_here, recipe):
    times = {
        precision: plan(ivvit_here, recipe, f"train.precision={precision}")["time"]
        for precision in ("auto", "bf16", "fp32")
    }
    assert [time["precision"] for time in times.values()] == ["bf16", "bf16", "fp32"]
    assert times["auto"] == times["bf16"]
    assert times["fp32"]["seconds"] > times["bf16"]["seconds"]
    own = ivvit_here("train", "--recipe", recipe, "--dry-run", "train.precision=fp32").stdout
    assert "TFLOP/s per GPU in fp32 (assumed" in own
    given = ("train.precision=fp32", "--tflops", "2")
    assert plan(ivvit_here, recipe, *given)["time"]["tflops_per_gpu"] == 2


def test_the_plan_is_told_without_shards(ivvit_here, recipe):
    nowhere = "data.films.shards=nowhere"
    found = plan(ivvit_here, recipe, nowhere, "--memory", "80GiB", code=3)
    assert found["memory"]["advice"] == []
    assert found["time"]["seconds"] > 0
    shown = ivvit_here("train", "--recipe", recipe, "--dry-run", nowhere)
    assert "effective_batch" in shown.stdout
    assert "there are no finished shards of data.films" in shown.stderr


def test_what_fits_of_timesformer_l(ivvit_here):
    """96 frames of 224 pixels, 64 clips per update, on one GPU."""
    found = plan(ivvit_here, "timesformer-l-k400", "--memory", "80GiB", code=3)
    whole, light = (layouts(found)["ddp", each]["fits"] for each in (False, True))
    assert 1 <= whole["micro_batch"]["kinetics400"] < light["micro_batch"]["kinetics400"] <= 64
    assert light["accumulate"] * light["micro_batch"]["kinetics400"] >= 64
    assert found["memory"]["advice"] == [f"train.accumulate={whole['accumulate']}"]
    assert found["time"]["flops"] is None


def test_a_machine_belongs_to_a_dry_run(ivvit_here, recipe):
    result = ivvit_here("train", "--recipe", recipe, "--gpus", "8")
    assert result.code == 2
    assert "--gpus: describes the machine of a --dry-run" in result.stderr


def test_sizes_and_names_of_gpus():
    assert [parse_memory(text) for text in ("80GiB", "80 GB", "0.5TB")] == [
        80 * 2**30,
        80 * 10**9,
        5 * 10**11,
    ]
    for wrong in ("80", "GiB", "-1GiB"):
        with pytest.raises(UsageError, match="is no size"):
            parse_memory(wrong)
    with pytest.raises(UsageError, match="has to be positive"):
        find_machine(gpus=0)
    names = {
        "NVIDIA A100-SXM4-80GB": 312,
        "NVIDIA H100 80GB HBM3": 989,
        "NVIDIA H100 PCIe": 756,
        "NVIDIA L40S": 362,
        "NVIDIA GeForce RTX 4090": 165,
        "Tesla T4": None,
    }
    assert {name: peak_tflops(name, "bf16") for name in names} == names
    assert peak_tflops("NVIDIA A100-SXM4-80GB", "fp32") == 19.5
