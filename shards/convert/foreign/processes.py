"""Tars walked in several processes: reading headers keeps an interpreter busy."""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from signal import SIG_IGN, SIGINT, signal
from typing import TypeVar

from shards.convert.foreign.tars import Tar
from shards.errors import EnvironmentFault

Result = TypeVar("Result")

_WORTH_A_PROCESS = 1 << 28  # bytes of tars


def each_tar(
    function: Callable[[Tar], Result], tars: Sequence[Tar], workers: int | None = None
) -> Iterator[Result]:
    """Yield `function(tar)` in the order of the tars.

    Args:
        function: what can be sent to another process.
        tars: the tars.
        workers: processes; None: one per core, unless there is so little to read that their start
            would take longer.

    Raises:
        EnvironmentFault: a process was killed.
    """
    if workers is None:
        small = sum(tar.size for tar in tars) < _WORTH_A_PROCESS
        workers = 1 if small else len(os.sched_getaffinity(0))
    if min(workers, len(tars)) < 2:
        yield from map(function, tars)
        return
    context = get_context("spawn")  # a fork would copy the threads of a progress bar
    with ProcessPoolExecutor(min(workers, len(tars)), context, initializer=_begin) as pool:
        try:
            yield from pool.map(function, tars)
        except BrokenProcessPool:
            raise EnvironmentFault("a process that walked a tar was killed") from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _begin() -> None:
    """Leave Ctrl-C to the parent, and end with it: an executor's processes would wait for ever."""
    signal(SIGINT, SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    if parent := parent_process():
        parent.join()
    os._exit(1)
