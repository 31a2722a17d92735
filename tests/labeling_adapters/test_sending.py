"""Sending: what a vendor that fails, stalls or dies half-way gets, and how often."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from engine.policies import load_policy
from engine.snippets import Snippet
from labeling_adapters.base import AdapterError, InHouse, OutgoingBatch, OutgoingTask, Pushed
from labeling_adapters.sending import ATTEMPTS, persistently, send

BATCH = OutgoingBatch("b", "label", load_policy("injury"))
TASKS = [OutgoingTask(f"t{i}", Snippet("One. Two. Three.", f"Number {i} sat down."), wanted=1) for i in range(250)]


class Flaky(InHouse):
    """A vendor that fails as it is told, before or after it has kept what it was sent."""

    def __init__(self, failures: Sequence[tuple[AdapterError, int]] = ()) -> None:
        self.kept: dict[str, str] = {}
        self.failures = list(failures)
        self.pushes: list[int] = []
        self.knows_gold = False
        self.golds: set[str] = set()
        self.looks: list[AdapterError | None] = []

    def held(self, batch: OutgoingBatch) -> Iterator[Pushed]:
        if self.looks and (error := self.looks.pop(0)):
            raise error
        return iter(
            [Pushed(task, remote, gold=not self.knows_gold or task in self.golds) for task, remote in self.kept.items()]
        )

    def push(self, batch: OutgoingBatch, tasks: Sequence[OutgoingTask]) -> list[Pushed]:
        self.pushes.append(len(tasks))
        error, keeps = self.failures.pop(0) if self.failures else (None, len(tasks))
        for task in tasks[:keeps]:
            assert task.task_id not in self.kept, "sent twice"
            self.kept[task.task_id] = f"r-{task.task_id}"
        if error:
            raise error
        return [Pushed(task.task_id, f"r-{task.task_id}") for task in tasks]


EVERY = [Pushed(task.task_id, f"r-{task.task_id}") for task in TASKS]


def test_everything_is_sent_once_in_chunks() -> None:
    vendor = Flaky()
    assert list(send(vendor, BATCH, TASKS)) == EVERY
    assert vendor.pushes == [100, 100, 50]
    assert list(send(vendor, BATCH, TASKS)) == EVERY
    assert vendor.pushes == [100, 100, 50]


def test_what_landed_before_a_timeout_is_not_sent_again() -> None:
    vendor, waits = Flaky([(AdapterError("timed out", permanent=False), 37)]), list[float]()
    assert sorted(send(vendor, BATCH, TASKS, sleep=waits.append)) == sorted(EVERY)
    assert vendor.pushes == [100, 63, 100, 50]
    assert len(waits) == 1
    assert 0.5 <= waits[0] <= 1.0


def test_a_vendor_that_cannot_be_asked_what_landed_is_sent_nothing() -> None:
    busy = AdapterError("busy", permanent=False)
    vendor = Flaky([(AdapterError("timed out", permanent=False), 100)])
    vendor.looks = [None, busy, busy, None]
    assert sorted(send(vendor, BATCH, TASKS, sleep=lambda _: None)) == sorted(EVERY)
    assert vendor.pushes == [100, 100, 50]


def test_gold_that_arrived_without_its_answer_is_pushed_again_by_the_vendors_id() -> None:
    class Gold(Flaky):
        def push(self, batch: OutgoingBatch, tasks: Sequence[OutgoingTask]) -> list[Pushed]:
            self.golds |= {task.task_id for task in tasks if task.remote_id}
            return super().push(batch, [task for task in tasks if not task.remote_id]) + [
                Pushed(task.task_id, task.remote_id) for task in tasks if task.remote_id
            ]

    vendor = Gold([(AdapterError("timed out", permanent=False), 2)])
    vendor.knows_gold = True
    tasks = [replace(TASKS[0], gold="Yes"), TASKS[1], replace(TASKS[2], gold="No")]
    sent = list(send(vendor, BATCH, tasks, sleep=lambda _: None))
    assert [(one.task_id, one.remote_id) for one in sent] == [("t0", "r-t0"), ("t1", "r-t1"), ("t2", "r-t2")]
    assert vendor.pushes == [3, 1]
    assert vendor.golds == {"t0"}


def test_a_refusal_for_good_is_not_tried_again() -> None:
    vendor, waits = Flaky([(AdapterError("bad key", permanent=True), 0)]), list[float]()
    with pytest.raises(AdapterError, match="bad key"):
        list(send(vendor, BATCH, TASKS, sleep=waits.append))
    assert (vendor.pushes, waits) == ([100], [])


def test_a_later_run_goes_on_where_a_crash_left_it() -> None:
    vendor = Flaky([(AdapterError("gone", permanent=False), 10)] + [(AdapterError("gone", permanent=False), 0)] * 4)
    with pytest.raises(AdapterError, match="gone"):
        list(send(vendor, BATCH, TASKS, sleep=lambda _: None))
    assert vendor.pushes == [100, 90, 90, 90, 90]
    assert sorted(send(vendor, BATCH, TASKS)) == sorted(EVERY)
    assert vendor.pushes[5:] == [100, 100, 40]


def test_waits_grow_and_end() -> None:
    waits, calls = list[float](), list[int]()

    def call() -> None:
        calls.append(1)
        raise AdapterError("busy", permanent=False)

    with pytest.raises(AdapterError):
        persistently(call, sleep=waits.append)
    assert (len(calls), len(waits)) == (ATTEMPTS, ATTEMPTS - 1)
    assert all(2.0**i / 2 <= wait <= 2.0**i for i, wait in enumerate(waits))


def test_the_vendor_says_when_to_come_back() -> None:
    waits = list[float]()
    errors = [AdapterError("429", permanent=False, retry_after=7.0)]

    def call() -> int:
        if errors:
            raise errors.pop()
        return 3

    assert persistently(call, sleep=waits.append) == 3
    assert waits == [7.0]
    errors.append(AdapterError("429", permanent=False, retry_after=3600))
    with pytest.raises(AdapterError):
        persistently(call, sleep=waits.append)
    assert waits == [7.0]
