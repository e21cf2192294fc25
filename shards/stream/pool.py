"""Who reads and decodes: threads, or the caller itself."""

import os
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

Args = ParamSpec("Args")
Result = TypeVar("Result")

_REMOTE_THREADS = 32  # at least, where a thread mostly waits for a network


class Caller(Executor):
    """An executor whose work is done at once by whoever submits it."""

    def submit(
        self, fn: Callable[Args, Result], /, *args: Args.args, **kwargs: Args.kwargs
    ) -> Future[Result]:
        """Return a future that is done; it holds whatever `fn` raised."""
        future: Future[Result] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:
            future.set_exception(error)
        return future


def open_pool(threads: int, name: str) -> Executor:
    """Return an executor of so many threads; of none, the caller."""
    return ThreadPoolExecutor(threads, name) if threads else Caller()


def choose_threads(threads: int | None, *, remote: bool) -> int:
    """Return how many threads read: as many as are asked for, else one per core.

    Those of remote shards mostly wait for a network: unless they are asked for, at least 32.
    """
    if threads is not None:
        return threads
    return max(available_cores(), _REMOTE_THREADS if remote else 1)


def available_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))
