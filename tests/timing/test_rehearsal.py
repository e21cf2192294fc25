"""The loop that is measured is the loop that trains."""

from collections import Counter
from dataclasses import replace

import pytest
import torch
from tiny_runs import CLIP, MODEL, make_shards, write_films, write_pictures

from ivvit_cli.config import load_recipe
from ivvit_cli.timing import model as timing_model
from ivvit_cli.timing.decoding import draw_probe
from ivvit_cli.timing.reading import Meter, Window
from ivvit_cli.timing.rehearsal import trainer_of
from ivvit_cli.training.compiling import compile_blocks
from ivvit_cli.training.job import job_of
from ivvit_cli.training.progress import RunProgress

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """Return a job on two tiny datasets."""
    root = tmp_path_factory.mktemp("rehearsal")
    write_pictures(root / "raw-pictures", ["ant", "bee"], 4, split="train")
    write_films(root / "raw-films", ["run", "sit"], 2, split="train")
    make_shards("imagefolder", root / "raw-pictures", root / "pictures")
    make_shards("videofolder", root / "raw-films", root / "films")
    path = root / "tiny.yaml"
    path.write_text(
        f"model: {MODEL}\n"
        "data:\n"
        f"  pictures: {{shards: {root}/pictures, batch: 4}}\n"
        f"  films: {{shards: {root}/films, batch: 4, clip: {{sample: uniform, frames: 4}}}}\n"
        "schedule: {kind: sequential, iterations: 3}\n"
        "optim: {lr: 1e-3}\n"
        "loader: {threads: 1}\n"
    )
    assert CLIP["frames"] == 4
    return job_of(load_recipe(str(path)))


def test_a_rehearsal_tells_its_phases_and_changes_what_training_changes(job, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    told = []
    _, trainer = trainer_of(job, CPU)
    trainer = replace(trainer, progress=RunProgress(), mark=told.append, accumulate=2)
    before = [p.detach().clone() for p in trainer.update.parameters()]
    iterations = trainer.rehearse()
    for _ in range(4):  # one more than the recipe has
        next(iterations)
    iterations.close()
    passes = ["forward", "backward"] * 2
    assert told == ["wait", "transfer", *passes, "optimiser"] * 2 * 4
    assert trainer.progress.iteration == 4
    assert any(
        not torch.equal(a, b) for a, b in zip(before, trainer.update.parameters(), strict=True)
    )
    assert not list(tmp_path.iterdir())


def test_the_probe_holds_what_training_draws(job):
    _, trainer = trainer_of(job, CPU)
    for name, stream in trainer.streams.items():
        probe = draw_probe(stream, 5)
        read = [data for data, _, _ in probe.frames]
        draws = [draw for step in range(5, 80) for draw in stream.draw(step, range(4))]
        expected = [
            data
            for draw in draws[: probe.samples]
            for data in stream.split.read(draw.index, sorted(set(draw.frames.tolist())))
        ]
        assert read == expected, name
        assert len(read) >= 256
        assert probe.sample_bytes == pytest.approx(sum(map(len, read)) / probe.samples)
        assert probe.decode() > 0


def test_a_meter_reads_on_and_adds_up(job):
    _, trainer = trainer_of(job, CPU)
    probes = {name: draw_probe(stream, 0) for name, stream in trainer.streams.items()}
    meter = Meter(trainer, probes, threads=1, step=100)
    meter.go_round(0.05)
    assert meter.step > 100 + 3 * (1 + trainer.loading.prefetch)
    [alone], [window] = meter.alone["films"], meter.together[1]
    assert set(alone.samples) == {"films"}
    assert alone.samples["films"] % 4 == window.samples.total() % 4 == 0
    [films] = meter.decoding["films"]
    assert alone.share == pytest.approx(films * alone.samples["films"] / alone.seconds)

    row = meter.row([Window(Counter(pictures=10, films=5), seconds=2.0, share=0.5)])
    medians = {key: value["median"] for key, value in row.items()}
    assert medians == {
        "clips_per_second": 2.5,
        "images_per_second": 5.0,
        "bytes_per_second": 5.0 * probes["pictures"].sample_bytes
        + 2.5 * probes["films"].sample_bytes,
        "share": 0.5,
    }


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
def test_compiled_blocks_come_after_eager_ones(job, monkeypatch):
    def quickly(model, passes):
        return compile_blocks(model, passes, backend="eager")

    monkeypatch.setattr(timing_model, "compile_blocks", quickly)
    found = timing_model.time_model(job, CPU, 0.1, batch=1, compiled=True)
    kinds = [(row["mode"], row["dataset"]) for row in found["views"]]
    assert kinds == [(mode, name) for mode in ("eager", "compiled") for name in job.data]


def test_a_batch_is_halved_until_it_fits():
    tried = []

    def measure(batch):
        tried.append(batch)
        if batch > 3:
            raise torch.OutOfMemoryError
        return {"batch": batch}

    assert timing_model.largest_fitting(14, "films", measure) == (3, {"batch": 3})
    assert tried == [14, 7, 3]
    with pytest.raises(timing_model.EnvironmentFault, match="one view of films"):
        timing_model.largest_fitting(2, "films", lambda batch: measure(batch + 9))
