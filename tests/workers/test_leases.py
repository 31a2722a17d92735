"""Leases that ran out are given back once; answers under idempotency keys are forgotten in time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from uuid import uuid4

import pytest
from django.utils import timezone

from webapi.models import Annotator, Batch, IdempotentRequest, Lease, LeaseState, Task, User
from webapi.models.base import first_id_at
from workers import leases
from workers.leases import answers_forget, leases_expire


@pytest.fixture
def held(make_batch: Callable[..., Batch]) -> list[Lease]:
    """Three leases of one annotator, a minute apart."""
    annotator = Annotator.objects.create(name="alice")
    now = timezone.now()
    made = []
    for minutes, task in enumerate(make_batch(3).tasks.order_by("pk")):
        Task.objects.filter(pk=task.pk).update(taken=1)
        expires_at = now + timedelta(minutes=minutes)
        made.append(Lease.objects.create(task=task, annotator=annotator, token=uuid4(), expires_at=expires_at))
    return made


def taken() -> list[int]:
    return list(Task.objects.order_by("pk").values_list("taken", flat=True))


def test_only_what_ran_out_is_given_back_and_only_once(held: list[Lease]) -> None:
    now = timezone.now() + timedelta(seconds=90)
    assert leases_expire(now) == 2
    assert taken() == [0, 0, 1]
    assert leases_expire(now) == 0
    assert taken() == [0, 0, 1]
    assert [Lease.objects.get(pk=row.pk).state for row in held] == ["expired", "expired", "live"]


def test_what_was_answered_or_released_is_not_given_back(held: list[Lease]) -> None:
    for lease, state in ((held[0], LeaseState.ANSWERED), (held[1], LeaseState.RELEASED)):
        Lease.objects.filter(pk=lease.pk).update(state=state)
    assert leases_expire(timezone.now() + timedelta(hours=1)) == 1
    assert taken() == [1, 1, 0]


def test_a_lease_renewed_meanwhile_stays(held: list[Lease]) -> None:
    now = timezone.now() + timedelta(seconds=30)
    assert Lease.renew_all([held[0].pk], now + timedelta(hours=1)) == {held[0].pk}
    assert Lease.end_all([held[0].pk], LeaseState.EXPIRED, due=now) == set()
    assert (leases_expire(now), taken()) == (0, [1, 1, 1])


def test_many_are_given_back_in_turns(held: list[Lease], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "EXPIRE_AT_ONCE", 2)
    now = timezone.now() + timedelta(hours=1)
    assert [leases_expire(now) for _ in range(3)] == [2, 1, 0]
    assert taken() == [0, 0, 0]


def test_two_leases_of_one_task_give_back_two_places(held: list[Lease]) -> None:
    Task.objects.filter(pk=held[0].task_id).update(wanted=3, taken=3, labelled=1)
    other = Annotator.objects.create(name="bob")
    Lease.objects.create(task=held[0].task, annotator=other, token=uuid4(), expires_at=held[0].expires_at)
    assert leases_expire(timezone.now() + timedelta(seconds=30)) == 2
    assert Task.objects.get(pk=held[0].task_id).taken == 1


def test_a_labels_place_is_never_given_back(held: list[Lease]) -> None:
    Task.objects.filter(pk=held[0].task_id).update(labelled=1)
    assert leases_expire(timezone.now() + timedelta(hours=1)) == 3
    assert taken() == [1, 0, 0]


def test_what_ended_is_not_renewed(held: list[Lease]) -> None:
    assert Lease.end_all([held[0].pk], LeaseState.RELEASED) == {held[0].pk}
    assert Lease.renew_all([row.pk for row in held], timezone.now()) == {held[1].pk, held[2].pk}


def test_answers_are_forgotten_after_a_week(alice: User) -> None:
    for key, days in (("old", 8), ("new", 6)):
        made = first_id_at(timezone.now() - timedelta(days=days))
        IdempotentRequest.objects.create(id=made, user=alice, key=key, method_path="POST /", body_digest="0")
    assert answers_forget(timezone.now()) == 1
    assert answers_forget(timezone.now()) == 0
    assert list(IdempotentRequest.objects.values_list("key", flat=True)) == ["new"]
