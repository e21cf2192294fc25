"""What `ivvit shard` shows, and the commands that it suggests for the parts that are missing."""

import json
import shlex
from collections.abc import Collection
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ivvit_cli import console
from ivvit_cli.errors import IvvitError, UsageError
from shards.urls import is_url

if TYPE_CHECKING:
    from shards.convert.errors import ShardsMissing
    from shards.convert.report import Report

# A recipe that learns in minutes on a CPU, of the datasets that it would train on, and a dataset's
# settings in it.
_SMALL: dict[str, tuple[str, tuple[str, ...], dict[str, Any]]] = {
    "image": ("iv-vit-small-images", ("tiny-imagenet", "cifar100"), {"batch": 32}),
    "video": (
        *("iv-vit-small-videos", ("ucf101",)),
        {"batch": 8, "clip": {"sample": "uniform", "frames": 8}},
    ),
}

OF_FOLDERS = ("imagefolder", "videofolder")


def path(text: str) -> Path:
    """Return a place on this machine, where datasets are read and shards are written.

    Raises:
        UsageError: it is a URL, which a path would turn into the name of a folder.
    """
    if is_url(text):
        raise UsageError(
            f"{text}: is a URL, but datasets are read, and shards written, on this machine",
            hint="copy the finished folder of shards there as it is; training reads it there",
        )
    return Path(text)


def check_apart(dataset: str, source: Path, folder: Path) -> None:
    """Refuse shards among the folders of classes, of which the next run would make one more class.

    Raises:
        UsageError: they would lie there.
    """
    if dataset in OF_FOLDERS and folder.resolve().is_relative_to(source.resolve()):
        raise UsageError(
            f"{folder}: lies in {source}, where it would be taken for the folder of a class",
            hint="choose a folder outside of it with -o",
        )


def show(report: "Report", folder: Path, *, dry_run: bool, again: str) -> None:
    """Write what a conversion did, or would do; `again` is its command without any part."""
    _show_table(report, dry_run)
    _show_counts(report, folder, dry_run)
    if dry_run:
        return
    _show_left_out(report, folder)
    if report.missing_shards:
        from shards.convert.report import counted

        shards = counted(len(report.missing_shards), "shard")
        count = report.part.count
        parts = f"{report.missing_parts} of 0-{count - 1}"
        console.say(f"missing: parts {parts} ({shards}); whichever ends last finishes the folder")
        console.next_step(f"{again} --part {report.missing_shards[0] % count}/{count}")
    else:
        console.next_step(shlex.join(["ivvit", "data", "show", str(folder)]))


def _show_table(report: "Report", dry_run: bool) -> None:
    about = "about " if dry_run else ""
    rows = [
        (name, row["samples"], row["shards"], f"{about}{row['bytes'] / 1e6:.1f} MB")
        for name, row in report.splits.items()
    ]
    title = f"{report.dataset}, {len(report.classes)} classes"
    console.table(title, ["split", "samples", "shards", "size"], rows)
    for note in report.notes:
        console.say(f"note: {note}")
    if set(report.splits) == {"train"}:
        console.say("note: no split val or test: a training on this cannot be validated")


def _show_counts(report: "Report", folder: Path, dry_run: bool) -> None:
    from shards.convert.report import counted

    counts = f"{report.listed} listed, {report.missing} missing"
    if report.duplicate:
        counts += f", {report.duplicate} listed again"
    if report.missing_shards or (dry_run and not report.part.is_whole):
        counts = f"part {report.part}: {report.listed} listed"
    if dry_run:
        console.say(f"{counts}; nothing was converted")
        console.say(f"note: no {report.kind} was decoded yet; a file that is none will be skipped")
        return
    console.say(f"{counts}, {report.skipped} skipped, {report.written} written to {folder}")
    if report.reused:
        console.say(f"already there: {counted(report.reused, 'shard')}")


def _show_left_out(report: "Report", folder: Path) -> None:
    for reason in report.reasons:
        console.say(f"skipped: {reason}")
    if more := report.skipped - len(report.reasons):
        console.say(f"skipped: and {more} more")
    for count, what in ((report.missing, "is missing"), (report.skipped, "was skipped")):
        if count > report.listed / 2:
            console.warn(f"most of what is listed {what}: {count} of {report.listed}")
    listed = not report.missing_shards  # skipped.jsonl is written at the end
    if listed and (report.missing or more):
        counts = f"{report.missing} missing, {report.skipped} skipped"
        console.say(f"what was left out ({counts}), and why: {folder / 'skipped.jsonl'}")


def parts_missing(fault: "ShardsMissing", parts: int | None, command: str) -> IvvitError:
    """Return a fault with what converts the missing shards, on a cluster or here.

    `parts` is how many parts the conversion was divided into, if that is known, and `command`
    converts without any.
    """
    from shards.convert.parts import array_expression

    here = f"{command} --part all"
    if parts is None:
        return IvvitError(fault.message, hint=here)
    array = array_expression({place % parts for place in fault.missing})
    task = f"{command} --part $SLURM_ARRAY_TASK_ID/{parts}"
    one = f"{command} --part {fault.missing[0] % parts}/{parts}"
    return IvvitError(
        f"{fault.message}; they are of parts {array} of 0-{parts - 1}",
        hint=f"{one} and so on; with Slurm: sbatch --array={array} --wrap {shlex.quote(task)}; "
        f"or all at once: {here}",
    )


def command_line(context: Any, without: Collection[str]) -> str:
    """Return the command line that a command was called with, but for some of its parameters."""
    words = context.command_path.split()
    for param in context.command.params:
        source = context.get_parameter_source(param.name)
        if param.name in without or source is None or source.name != "COMMANDLINE":
            continue
        value = context.params[param.name]
        if param.param_type_name == "option":
            words.append(max(param.opts, key=len))
        if not getattr(param, "is_flag", False):
            values = value if isinstance(value, list) else [value]
            words += [str(each.value if isinstance(each, Enum) else each) for each in values]
    return shlex.join(words)


def next_command(folder: str) -> str:
    """Return the command for which sound shards are there: a training, else an evaluation.

    Raises:
        InputError: the folder has no readable `dataset.json`.
    """
    from shards.manifest import read_dataset_info

    info = read_dataset_info(Path(folder))
    if "train" not in info.splits:
        return shlex.join(["ivvit", "eval", "RUN", "--data", f"{info.name}={folder}"])
    recipe, others, settings = _SMALL[info.kind]
    own = json.dumps({"shards": folder, **settings}, ensure_ascii=False)
    changes = [*(f"data.{other}=null" for other in others), f"data.{info.name}={own}"]
    return shlex.join(["ivvit", "train", "--recipe", recipe, *changes])
