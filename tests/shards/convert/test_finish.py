"""The end of a conversion while other processes are still at work in its folder."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import layouts
import pytest

from shards.convert import finish as ending
from shards.convert.conversion import Conversion
from shards.convert.dataset import prepare
from shards.convert.errors import ShardsMissing
from shards.convert.finish import finish
from shards.convert.samples import Skipped, convert_item
from shards.convert.verify import verify
from shards.convert.writer import write_shard


@pytest.fixture
def conversion(tmp_path: Path) -> Conversion:
    """Return a conversion that has written its shards, but of each only the last sample."""
    layouts.imagefolder(tmp_path / "pets")
    conversion = prepare("imagefolder", tmp_path / "pets", shard_size=13_000)
    (tmp_path / "out").mkdir()
    for place, plan in enumerate(conversion.plans):
        write(conversion, tmp_path / "out", place, skip=len(plan.items) - 1)
    return conversion


def write(conversion: Conversion, out: Path, place: int, skip: int) -> None:
    """Write a shard anew, as if its first `skip` items could not be converted."""
    plan, classes = conversion.plans[place], conversion.listing.classes
    left_out = [Skipped(item.source, item.split, "is left out") for item in plan.items[:skip]]
    samples = [
        convert_item(item, kind="image", class_name=classes[item.label], options=conversion.options)
        for item in plan.items[skip:]
    ]
    write_shard(out, plan, left_out + samples)


def finish_it(conversion: Conversion, out: Path) -> Any:
    return finish(out, conversion.listing, conversion.plans, conversion.options, conversion.tools)


@pytest.mark.parametrize("moment", ["_write_skipped", "merge_records", "write_dataset_info"])
@pytest.mark.parametrize("place", [0, 5])
def test_a_shard_that_changes_meanwhile_is_in_the_manifest(
    tmp_path, monkeypatch, conversion: Conversion, moment: str, place: int
) -> None:
    """Another process converts a shard again and finishes, while one is about to do something."""
    out, original = tmp_path / "out", getattr(ending, moment)

    def interrupted(*args: Any) -> Any:
        monkeypatch.undo()
        write(conversion, out, place, skip=0)
        finish_it(conversion, out)
        return original(*args)

    monkeypatch.setattr(ending, moment, interrupted)
    finish_it(conversion, out)
    assert verify(out).problems == ()
    written = len(conversion.plans) - 1 + len(conversion.plans[place].items)
    assert verify(out).samples == written


@pytest.mark.parametrize("moment", ["_write_skipped", "merge_records", "write_dataset_info"])
def test_a_shard_that_is_taken_away_meanwhile_leaves_no_manifest(
    tmp_path, monkeypatch, conversion: Conversion, moment: str
) -> None:
    out, original = tmp_path / "out", getattr(ending, moment)

    def interrupted(*args: Any) -> Any:
        monkeypatch.undo()
        (out / conversion.plans[1].record).unlink()
        return original(*args)

    monkeypatch.setattr(ending, moment, interrupted)
    with pytest.raises(ShardsMissing):
        finish_it(conversion, out)
    assert not (out / "dataset.json").exists()


def empty_a_shard(out: Path, conversion: Conversion) -> None:
    write(conversion, out, 0, skip=len(conversion.plans[0].items))  # its tar stays until the end


@pytest.mark.parametrize("change", [empty_a_shard, lambda out, _: None])
def test_a_finished_folder_stays_readable_while_it_is_finished_again(
    tmp_path, monkeypatch, conversion: Conversion, change: Callable[[Path, Conversion], None]
) -> None:
    """An index of other rows is never beside a manifest of before."""
    out = tmp_path / "out"
    finish_it(conversion, out)
    change(out, conversion)
    original, seen = ending.merge_records, []

    def looked_at(path: Path, *args: Any) -> Any:
        merged = original(path, *args)
        if (out / "dataset.json").exists():
            seen.append(verify(out).problems)
        return merged

    monkeypatch.setattr(ending, "merge_records", looked_at)
    finish_it(conversion, out)
    assert all(problems == () for problems in seen)
    assert bool(seen) == (change is not empty_a_shard)
    assert verify(out).ok
