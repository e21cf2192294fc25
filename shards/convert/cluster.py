"""The shards of a plan, converted by the machines of a Ray cluster into one shared folder."""

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from shards.convert.ffmpeg import find_ffmpeg
from shards.convert.items import Item
from shards.convert.job import Job, Tell, write_shards
from shards.convert.plan import ShardPlan
from shards.errors import EnvironmentFault

_QUEUED = 2  # shards per core that wait to be converted
_PERIOD = 0.5  # seconds between two looks at how far the machines are


def write_shards_by_ray(
    job: Job, plans: Sequence[ShardPlan], workers: int | None, tell: Tell
) -> None:
    """Convert and write every shard, each by one core of the cluster, item after item.

    The cluster is the one that this process is connected to, else that of RAY_ADDRESS or of which
    this machine is one, else this machine alone.
    Its machines need the same sources, the same folder and the same ffmpeg under the same paths.
    `workers` bounds how many shards are converted at a time.

    Raises:
        EnvironmentFault: Ray is not installed or cannot be started, or a machine of the cluster
            lacks the ffmpeg that the plan was made for.
        InputError: an item is bad, and should not be skipped.
        OSError: a shard cannot be written.
    """
    if not plans:
        return
    with _connected(workers) as ray:
        limit = workers or _QUEUED * int(ray.cluster_resources().get("CPU", 1))
        counter = ray.remote(num_cpus=0)(_Counter).remote()
        convert = ray.remote(num_cpus=1)(_convert)
        everywhere, ffmpeg = replace(job, out=job.out.absolute()), _ffmpeg(job)
        tasks = (convert.remote(everywhere, _everywhere(plan), ffmpeg, counter) for plan in plans)
        told = 0
        for _ in _run(ray, tasks, limit):
            told += _tell(tell, ray.get(counter.take.remote()))
        _tell(tell, sum(len(plan.items) for plan in plans) - told)  # what was still on its way


def _run(ray: Any, tasks: Iterator[Any], limit: int) -> Iterator[None]:
    """Let tasks run, so many at a time, and yield now and then until all have ended."""
    running = list(islice(tasks, limit))
    try:
        while running:
            done, running = ray.wait(running, timeout=_PERIOD)
            _collect(ray, done)
            running += islice(tasks, len(done))
            yield
    finally:
        for task in running:
            ray.cancel(task, force=True)


@contextmanager
def _connected(workers: int | None) -> Iterator[Any]:
    """Connect to a cluster, and at the end leave it; one that was connected to before stays so."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent without being asked
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError:
        raise EnvironmentFault(
            "the engine ray needs the package ray", hint="pip install 'ivvit[ray]'"
        ) from None
    if ray.is_initialized():
        yield ray
        return
    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        _init(ray, workers)
    except (OSError, RuntimeError, ValueError) as error:
        summary = str(error).partition("\n")[0]
        raise EnvironmentFault(f"Ray cannot be started: {summary}") from None
    try:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, on_sigterm)  # Ray's exits with 15, after a C++ trace
        yield ray
    finally:
        ray.shutdown()


def _init(ray: Any, workers: int | None) -> None:
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        ray.init(address="auto", **quiet)
    except ConnectionError:  # there is none
        if "RAY_ADDRESS" in os.environ:
            raise
        ray.init(address="local", num_cpus=workers, include_dashboard=False, **quiet)


class _Counter:
    """Counts converted items for the process that shows them."""

    def __init__(self) -> None:
        self.items = 0

    def add(self, items: int) -> None:
        """Count more items."""
        self.items += items

    def take(self) -> int:
        """Return how many were added since the last call."""
        items, self.items = self.items, 0
        return items


def _convert(job: Job, plan: ShardPlan, ffmpeg: tuple[str, str] | None, counter: Any) -> None:
    """Convert one shard; this runs on a machine of the cluster."""
    _use_ffmpeg(ffmpeg)
    fresh, said = 0, time.monotonic()

    def tell(items: int) -> None:
        nonlocal fresh, said
        fresh += items
        if time.monotonic() - said >= _PERIOD:
            counter.add.remote(fresh)
            fresh, said = 0, time.monotonic()

    write_shards(job, [plan], workers=1, tell=tell)


def _ffmpeg(job: Job) -> tuple[str, str] | None:
    if job.kind == "image":
        return None
    binary = find_ffmpeg()
    return binary.path, binary.version


def _use_ffmpeg(wanted: tuple[str, str] | None) -> None:
    if wanted is None:
        return
    path, version = wanted
    if Path(path).is_file():
        os.environ["IVVIT_FFMPEG"] = path
    found = find_ffmpeg().version
    if found != version:
        raise EnvironmentFault(
            f"{socket.gethostname()}: has ffmpeg {found}, but the shards are made with {version}",
            hint="install one ffmpeg on all machines and name it by IVVIT_FFMPEG",
        )


def _everywhere(plan: ShardPlan) -> ShardPlan:
    """Return a plan whose files are found from any working directory."""
    return replace(plan, items=tuple(_absolute(item) for item in plan.items))


def _absolute(item: Item) -> Item:
    return item if item.path is None else replace(item, path=item.path.absolute())


def _collect(ray: Any, done: Sequence[Any]) -> None:
    """Raise what went wrong on another machine as if it had gone wrong here."""
    try:
        ray.get(done)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
    except ray.exceptions.RayError as error:
        summary = str(error).partition("\n")[0]
        raise EnvironmentFault(f"a machine of the cluster failed: {summary}") from None


def _tell(tell: Tell, items: int) -> int:
    if items:
        tell(items)
    return items
