"""Many annotators at once: no task beyond its wanted overlap, none lost, none twice to the same annotator.

Runs on SQLite by default, and once more on PostgreSQL where the services answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from django.db import connections
from django.db.models import F
from rest_framework.test import APIClient

from tests.services import assert_passes_on_postgresql
from webapi.models import Annotator, Batch, IdempotentRequest, Label, Lease, Policy, Task, TaskState, User
from webapi.services.labels import LabelInput, labels_record
from webapi.services.leases import tasks_lease
from workers.leases import leases_expire

ANNOTATORS = 6
TASKS = 40


def at_once(work: Callable[[int], Any], count: int) -> list[Any]:
    """What `count` threads give, all begun at the same moment, each with its own connection."""
    barrier = Barrier(count)

    def one(number: int) -> Any:
        try:
            barrier.wait(timeout=30)
            return work(number)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def people(count: int) -> list[User]:
    users = [User.objects.create(username=f"labeler{n}", role="contractor") for n in range(count)]
    Annotator.objects.bulk_create([Annotator(name=user.username, user=user) for user in users])
    return users


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("wanted", [1, 2])
def test_annotators_who_work_at_once_share_the_queue(make_batch: Callable[..., Batch], wanted: int) -> None:
    batch = make_batch(TASKS, wanted=wanted)
    users = people(ANNOTATORS)

    def work(number: int) -> int:
        user, given = users[number], 0
        annotator = Annotator.objects.get(user=user)
        while leases := tasks_lease(annotator=annotator, count=3):
            answers = [LabelInput(lease.task_id, lease.token, "No") for lease in leases]
            outcomes = labels_record(user=user, answers=answers)
            assert [one.outcome for one in outcomes] == ["recorded"] * len(answers)
            given += len(answers)
        return given

    given = at_once(work, ANNOTATORS)
    # Whoever found the queue locked or empty for a moment comes back, as a client does.
    given += [work(number) for number in range(ANNOTATORS)]
    assert sum(given) == Label.objects.count() == TASKS * wanted
    assert Task.objects.filter(state=TaskState.DONE, taken=wanted, labelled=wanted).count() == TASKS
    pairs = Counter(Label.objects.values_list("snippet", "annotator"))
    assert max(pairs.values()) == 1
    batch.refresh_from_db()
    assert batch.state == "done"


@pytest.mark.django_db(transaction=True)
def test_one_annotator_with_many_clients_holds_each_task_once(make_batch: Callable[..., Batch]) -> None:
    make_batch(TASKS, wanted=3)
    (user,) = people(1)

    def lease(number: int) -> list[str]:
        annotator = Annotator.objects.get(user=user)
        return [str(lease.task_id) for lease in tasks_lease(annotator=annotator, count=5)]

    held = [key for keys in at_once(lease, 6) for key in keys]
    assert len(held) == len(set(held)) == Lease.objects.count()
    assert Task.objects.filter(taken__gt=1).count() == 0


@pytest.mark.django_db(transaction=True)
def test_the_same_answer_sent_at_once_is_recorded_once(make_batch: Callable[..., Batch]) -> None:
    make_batch(1)
    (user,) = people(1)
    (lease,) = tasks_lease(annotator=Annotator.objects.get(user=user))
    answer = LabelInput(lease.task_id, lease.token, "No")
    outcomes = at_once(lambda _: labels_record(user=user, answers=[answer])[0].outcome, 5)
    assert Counter(outcomes) == {"recorded": 1, "duplicate": 4}
    assert (Label.objects.count(), Task.objects.get().labelled) == (1, 1)


@pytest.mark.django_db(transaction=True)
def test_sweepers_at_once_give_a_lease_back_once(make_batch: Callable[..., Batch]) -> None:
    make_batch(10, wanted=2)
    one, two = people(2)
    for user in (one, two):
        tasks_lease(annotator=Annotator.objects.get(user=user), count=10)
    Lease.objects.filter(annotator__user=one).update(expires_at=F("created_at"))
    now = Lease.objects.order_by("-created_at").values_list("created_at", flat=True)[0]
    assert sum(at_once(lambda _: leases_expire(now), 4)) == 10
    assert set(Task.objects.values_list("taken", flat=True)) == {1}


@pytest.mark.django_db(transaction=True)
def test_answers_that_come_while_their_leases_run_out_all_count(make_batch: Callable[..., Batch]) -> None:
    make_batch(TASKS)
    users = people(2)
    held = []
    for user in users:
        annotator = Annotator.objects.get(user=user)
        held.append(tasks_lease(annotator=annotator, count=TASKS // 2))
    Lease.objects.update(expires_at=F("created_at"))
    now = Lease.objects.order_by("-created_at").values_list("created_at", flat=True)[0]

    def work(number: int) -> list[str]:
        if number >= 2:
            leases_expire(now)
            return []
        order = held[number] if number else held[number][::-1]
        answers = [LabelInput(lease.task_id, lease.token, "No") for lease in order]
        return [one.outcome for one in labels_record(user=users[number], answers=answers)]

    outcomes = [outcome for given in at_once(work, 4) for outcome in given]
    assert Counter(outcomes) == {"recorded": TASKS}
    assert Task.objects.filter(state=TaskState.DONE, taken=1, labelled=1).count() == TASKS
    assert Batch.objects.get().state == "done"


@pytest.mark.django_db(transaction=True)
def test_the_same_request_sent_at_once_changes_something_once(api: Callable[..., APIClient]) -> None:
    rita = User.objects.create(username="rita", role="researcher")
    clients = [api(rita) for _ in range(5)]
    spec = {"name": "arson", "question": "Was anything set on fire?"}
    answers = at_once(lambda n: clients[n].post("/api/v1/policies", spec, HTTP_IDEMPOTENCY_KEY="k"), 5)
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sum("Idempotency-Replayed" in answer for answer in answers) == 4
    assert Policy.objects.filter(name="arson").count() == IdempotentRequest.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_lease_and_its_release_by_request_sent_at_once_leave_nothing_held(
    make_batch: Callable[..., Batch], api: Callable[..., APIClient]
) -> None:
    """As when a page goes away while it leases: whichever comes first, nothing stays held."""
    make_batch(TASKS)
    client = api(people(1)[0])
    calls = [("lease", {"count": 3}, {"HTTP_IDEMPOTENCY_KEY": "k{}"}), ("release", {"request": "k{}"}, {})]

    for turn in range(8):

        def send(number: int, turn: int = turn) -> int:
            path, body, headers = calls[number]
            body = {name: value.format(turn) if isinstance(value, str) else value for name, value in body.items()}
            headers = {name: value.format(turn) for name, value in headers.items()}
            return client.post(f"/api/v1/tasks/{path}", body, **headers).status_code

        leased, released = at_once(send, 2)
        assert (leased, released) in {(200, 200), (409, 200)}
        assert not Lease.objects.filter(state="live").exists()
        assert not Task.objects.filter(taken__gt=0).exists()


@pytest.mark.django_db(transaction=True)
def test_versions_added_at_once_each_have_their_number(api: Callable[..., APIClient]) -> None:
    rita = User.objects.create(username="rita", role="researcher")
    clients = [api(rita) for _ in range(4)]

    def add(number: int) -> int:
        spec = {"name": "arson", "question": "Fire?", "guidelines": f"Edition {number}."}
        return int(clients[number].post("/api/v1/policies", spec).json()["version"])

    assert sorted(at_once(add, 4)) == [1, 2, 3, 4]


@pytest.mark.services
def test_all_of_it_on_postgresql() -> None:
    assert_passes_on_postgresql(__file__, tests=9)
