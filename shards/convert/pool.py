"""A thread pool that keeps order and bounds what is in flight."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Given = TypeVar("Given")
Result = TypeVar("Result")

_AHEAD = 2  # results per worker that may wait for their turn


def ordered(
    function: Callable[[Given], Result], items: Iterable[Given], workers: int
) -> Iterator[Result]:
    """Yield `function(item)` in the order of the items, computed ahead by `workers` threads.

    Threads are enough: the work is in ffmpeg processes and in decoders that release the GIL.
    """
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > _AHEAD * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
