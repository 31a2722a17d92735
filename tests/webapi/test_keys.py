"""Keys of rows: they grow, cannot be guessed, and say when the row was made, however fast rows are made."""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from webapi.models import Snippet, User
from webapi.models.base import STEP_BITS, _Keys, new_id

Api = Callable[..., APIClient]
MILLISECOND = 1_000_000


class Clock:
    """Stands still until it is set."""

    def __init__(self) -> None:
        self.ns = 1_700_000_000_000 * MILLISECOND

    def time_ns(self) -> int:
        return self.ns


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("webapi.models.base.time", made)
    return made


def milliseconds(key: uuid.UUID) -> int:
    return key.int >> 80


def test_keys_made_fast_grow_and_stay_with_the_clock() -> None:
    before, last = time.time_ns() // MILLISECOND, new_id()
    for _ in range(200_000):
        key = new_id()
        assert key > last
        last = key
    assert before <= milliseconds(last) <= time.time_ns() // MILLISECOND


def test_each_is_a_uuid7() -> None:
    keys = [new_id() for _ in range(1000)]
    assert {(key.version, key.variant) for key in keys} == {(7, uuid.RFC_4122)}
    ones = [sum(key.int >> bit & 1 for key in keys) for bit in range(62)]
    assert min(ones[:STEP_BITS]) > 350  # no bit of the step stands still: 500 expected of a thousand
    assert max(ones[:STEP_BITS]) < 650


def test_a_clock_that_stands_still_or_goes_back_gives_keys_that_grow(clock: Clock) -> None:
    keys, start = _Keys(), clock.ns // MILLISECOND
    still = [keys.next() for _ in range(8000)]
    assert {milliseconds(key) for key in still} == {start}
    more = [keys.next() for _ in range(50_000)]
    ahead = milliseconds(more[-1]) - start
    assert 1 <= ahead <= 7
    clock.ns -= 3_600_000 * MILLISECOND
    back = [keys.next() for _ in range(100)]
    clock.ns += 3_600_000 * MILLISECOND + 100 * MILLISECOND
    caught_up = keys.next()
    made = [*still, *more, *back, caught_up]
    assert made == sorted(set(made))
    assert milliseconds(caught_up) == start + 100


def test_of_threads_that_make_keys_at_once_each_sees_its_own_grow_and_no_key_comes_twice() -> None:
    made: list[list[uuid.UUID]] = []

    def make() -> None:
        made.append([new_id() for _ in range(20_000)])

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(keys == sorted(keys) for keys in made)
    assert len({key for keys in made for key in keys}) == 80_000


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_process_forked_while_a_key_is_made_makes_others() -> None:
    from webapi.models import base

    reader, writer = os.pipe()
    with base._keys._lock:
        child = os.fork()
        if not child:
            os.write(writer, new_id().bytes)
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert uuid.UUID(bytes=os.read(reader, 16)) != new_id()


@pytest.mark.django_db
def test_a_list_by_time_is_exact_after_many_were_made(
    rita: User, api: Api, make_snippets: Callable[..., list[Snippet]]
) -> None:
    first = timezone.now() - timedelta(milliseconds=1)
    make_snippets(2000)
    then = timezone.now() + timedelta(milliseconds=1)
    shown: dict[str, Any] = {"until": then.isoformat(), "since": first.isoformat(), "page_size": 200}
    answer, found = api(rita).get("/api/v1/snippets", shown).json(), 0
    while True:
        found += len(answer["results"])
        if answer["next"] is None:
            break
        answer = api(rita).get(answer["next"]).json()
    assert found == 2000
    assert api(rita).get("/api/v1/snippets", {"since": then.isoformat()}).json()["results"] == []
