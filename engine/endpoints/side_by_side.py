"""Waiting for many slow calls at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

from engine.progress import Progress, silent

Item = TypeVar("Item")
Answer = TypeVar("Answer")


def side_by_side(
    call: Callable[[Item], Answer], items: Sequence[Item], *, threads: int, progress: Progress = silent
) -> list[Answer]:
    """`call` of each item, in order, `threads` at a time; `progress` is called twice a second, from this thread.

    The first call that fails, or a `progress` that raises, ends it: no further call starts, those under way finish
    unseen, and the error is raised at once.
    """
    pool = ThreadPoolExecutor(max(1, min(threads, len(items))))
    try:
        futures = [pool.submit(call, item) for item in items]
        pending = set(futures)
        while pending:
            done, pending = wait(pending, timeout=0.5, return_when="FIRST_COMPLETED")
            for future in done:
                future.result()
            progress(len(items) - len(pending), len(items))
        return [future.result() for future in futures]
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
