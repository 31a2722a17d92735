"""Sending a batch out: nothing twice, nothing lost, patient with a vendor that is slow or full."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import TypeVar

from labeling_adapters.base import AdapterError, LabelingAdapter, OutgoingBatch, OutgoingTask, Pushed

T = TypeVar("T")
CHUNK = 100
ATTEMPTS = 5
LONGEST_WAIT = 60.0
"""Seconds. A vendor that asks for more is left to the job, which comes back later."""


def send(
    adapter: LabelingAdapter,
    batch: OutgoingBatch,
    tasks: Sequence[OutgoingTask],
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Pushed]:
    """Sends the tasks that the vendor does not hold, in chunks, and yields what became of every task.

    Asks the vendor first what it holds, so that a crash between its answer and our note of it duplicates nothing.
    Raises AdapterError when a whole chunk fails for good or again and again; chunks before it are done.
    """
    waiting = {task.task_id: task for task in tasks}
    yield from _found(waiting, persistently(lambda: list(adapter.held(batch)), sleep=sleep))
    rest = iter(list(waiting.values()))
    while chunk := list(islice(rest, CHUNK)):
        yield from _push(adapter, batch, chunk, sleep)


def _found(waiting: dict[str, OutgoingTask], held: Iterable[Pushed]) -> list[Pushed]:
    """What the vendor holds of the waiting tasks, which wait no longer: but for gold ones that lack their answer."""
    done = []
    for found in held:
        task = waiting.get(found.task_id)
        if task and task.gold is not None and not found.gold:
            waiting[task.task_id] = replace(task, remote_id=found.remote_id)
        elif task:
            done.append(found)
            del waiting[task.task_id]
    return done


def _push(
    adapter: LabelingAdapter, batch: OutgoingBatch, chunk: list[OutgoingTask], sleep: Callable[[float], None]
) -> list[Pushed]:
    """One chunk. After a failure, which may have landed, what the vendor holds is asked for before the next attempt."""
    waiting = {task.task_id: task for task in chunk}
    done: dict[str, Pushed] = {}
    in_doubt = False

    def attempt() -> None:
        nonlocal in_doubt
        if in_doubt:
            done.update((one.task_id, one) for one in _found(waiting, adapter.held(batch)))
        in_doubt = True
        if waiting:
            done.update((one.task_id, one) for one in adapter.push(batch, list(waiting.values())))

    persistently(attempt, sleep=sleep)
    return [done[task.task_id] for task in chunk]


def deepen(
    adapter: LabelingAdapter,
    batch: OutgoingBatch,
    tasks: Sequence[OutgoingTask],
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Pushed]:
    """Asks in chunks for more answers to tasks that the vendor holds, and yields what became of every task.

    Raises as `send` does. What is asked for twice, after a failure that landed, is given once: `deepen` names totals.
    """
    for start in range(0, len(tasks), CHUNK):
        chunk = tasks[start : start + CHUNK]
        yield from persistently(partial(adapter.deepen, batch, chunk), sleep=sleep)


def persistently(call: Callable[[], T], *, sleep: Callable[[float], None] = time.sleep, attempts: int = ATTEMPTS) -> T:
    """`call`, again after growing waits (with jitter) while it fails in a way that may pass.

    A vendor's own wish (`retry_after`) is kept to the second; one of more than LONGEST_WAIT ends the waiting.
    """
    for attempt in range(1, attempts + 1):
        try:
            return call()
        except AdapterError as error:
            wait = error.retry_after or random.uniform(0.5, 1.0) * 2.0 ** (attempt - 1)
            if error.permanent or attempt == attempts or wait > LONGEST_WAIT:
                raise
            sleep(wait)
    raise AssertionError("unreachable")
